package schemes

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// resolveAccounts resolves the secrets of senders that name the key they signed with. Without a label, the first secret
// of a key is called as the key, and further ones as the key with `/2`, `/3`, ….
func resolveAccounts(logger *zap.Logger, accounts []Account, decode func(string) ([]byte, error)) (map[string][]secret.Value, error) {
	if len(accounts) == 0 {
		return nil, fmt.Errorf("there is no account")
	}
	resolved := make(map[string][]secret.Value, len(accounts))
	for _, account := range accounts {
		apiKey, err := credential.Text("account", account.APIKey)
		if err != nil {
			return nil, err
		}
		if _, twice := resolved[apiKey]; twice {
			return nil, fmt.Errorf("account %s stands twice", apiKey)
		}
		if len(account.Secrets) == 0 {
			return nil, fmt.Errorf("account %s has no secret", apiKey)
		}
		secrets := slices.Clone(account.Secrets)
		for i := range secrets {
			if secrets[i].Label == "" {
				secrets[i].Label = apiKey
				if i > 0 {
					secrets[i].Label += "/" + strconv.Itoa(i+1)
				}
			}
		}
		if resolved[apiKey], err = credential.Resolve("account "+apiKey, secrets, decode); err != nil {
			return nil, err
		}
		credential.WarnWeak(logger, "account "+apiKey, resolved[apiKey])
	}
	return resolved, nil
}

// parseAccount reads a line `account <api_key> <secret>...`.
func parseAccount(d *caddyfile.Dispenser) (Account, error) {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return Account{}, d.Err("account takes an API key and one or more secrets")
	}
	account := Account{APIKey: args[0]}
	for _, value := range args[1:] {
		if value == "" {
			return Account{}, d.Err("account has an empty argument")
		}
		account.Secrets = append(account.Secrets, credential.Secret{Value: value})
	}
	return account, nil
}
