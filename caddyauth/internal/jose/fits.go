package jose

// Fits reports whether k can be used with an algorithm at all: for a configuration that could never accept a token.
func (k Key) Fits(alg string) bool {
	a, ok := algorithmOf(alg)
	return ok && k.fits(a, alg, "")
}
