package command

// The commands, for tests that drive them against a gate.
var (
	SignCommand    = signCommand
	TokenCommand   = tokenCommand
	ExplainCommand = explainCommand
	AddCommands    = addCommands
)
