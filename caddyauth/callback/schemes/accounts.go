package schemes

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// checkAccounts refuses accounts that could not hold, whatever the placeholders in them stand for.
func checkAccounts(accounts []Account, decode func(string) ([]byte, error)) error {
	for i, account := range accounts {
		if slices.ContainsFunc(accounts[:i], func(other Account) bool { return other.APIKey == account.APIKey }) {
			return fmt.Errorf("account %s stands twice: all its secrets stand on one line", account.APIKey)
		}
		if len(account.Secrets) == 0 {
			return fmt.Errorf("account %s has no secret", account.APIKey)
		}
		if strings.Contains(account.APIKey, "{") {
			continue // the labels come of it
		}
		if _, err := credential.Written("account "+account.APIKey, account.labelled(), decode); err != nil {
			return err
		}
	}
	return nil
}

// resolveAccounts resolves the secrets of senders that name the key they signed with.
func resolveAccounts(logger *zap.Logger, accounts []Account, decode func(string) ([]byte, error)) (map[string][]secret.Value, error) {
	named := make([]Account, len(accounts))
	for i, account := range accounts {
		apiKey, err := credential.Text("account", account.APIKey)
		if err != nil {
			return nil, err
		}
		named[i] = Account{APIKey: apiKey, Secrets: account.Secrets}
	}
	if err := checkAccounts(named, decode); err != nil { // two placeholders may stand for one key
		return nil, err
	}
	resolved := make(map[string][]secret.Value, len(accounts))
	for _, account := range named {
		option := "account " + account.APIKey
		values, err := credential.Resolve(option, account.labelled(), decode)
		if err != nil {
			return nil, err
		}
		credential.WarnWeak(logger, option, values)
		resolved[account.APIKey] = values
	}
	return resolved, nil
}

// labelled gives the secrets, every one with a label: without one of its own, the first is called as the key, and further
// ones as the key with `/2`, `/3`, ….
func (a Account) labelled() []credential.Secret {
	secrets := slices.Clone(a.Secrets)
	for i := range secrets {
		if secrets[i].Label == "" {
			secrets[i].Label = a.APIKey
			if i > 0 {
				secrets[i].Label += "/" + strconv.Itoa(i+1)
			}
		}
	}
	return secrets
}

// appendAccount reads a line `account <api_key> <secret>...` into one more of target.
func appendAccount(d *caddyfile.Dispenser, target *[]Account) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("account takes an API key and one or more secrets")
	}
	account := Account{APIKey: args[0]}
	for _, value := range args[1:] {
		if value == "" {
			return d.Err("account has an empty argument")
		}
		account.Secrets = append(account.Secrets, credential.Secret{Value: value})
	}
	*target = append(*target, account)
	return nil
}
