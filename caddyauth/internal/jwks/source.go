package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
)

// maxDocument is the largest document that is read, in bytes.
const maxDocument = 1 << 20

// fileInterval is how often a file is looked at, at most.
const fileInterval = time.Second

// Errors of sources, besides those of package endpoint and of the documents.
var (
	errIssuer     = errors.New("another issuer")
	errURL        = errors.New("a jwks_uri that may not be called")
	errUnreadable = errors.New("no readable file")
)

// resultOf gives the class of a source's error.
func resultOf(err error) Result {
	var failed *endpoint.Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &failed):
		return Result(failed.Failure)
	case errors.Is(err, errTooMany):
		return TooManyKeys
	case errors.Is(err, errIssuer):
		return WrongIssuer
	case errors.Is(err, errURL):
		return RefusedURL
	case errors.Is(err, errUnreadable):
		return Unreadable
	}
	return Invalid
}

// fromURL gets keys from a JWKS URL.
func fromURL(client *http.Client, u *url.URL) source {
	return func(ctx context.Context, _ *held) (*held, error) {
		document, header, err := get(ctx, client, u)
		if err != nil {
			return nil, err
		}
		keys, err := parse(document)
		if err != nil {
			return nil, err
		}
		return &held{keys: keys, lasts: youthOf(header)}, nil
	}
}

// discovery gets keys by the metadata at a configured URL, or else by that of the issuer.
func discovery(client *http.Client, config Config) (source, error) {
	place := config.Metadata
	if place == "" {
		if strings.Contains(config.Issuer, "?") {
			return nil, errors.New("issuer: it holds a query")
		}
		place = strings.TrimSuffix(config.Issuer, "/") + "/.well-known/openid-configuration"
	}
	u, err := endpoint.Parse(place)
	if err != nil {
		return nil, fmt.Errorf("URL of the provider metadata: %w", err)
	}
	provider := fromMetadata(client, u, config.Issuer)
	if config.Metadata != "" {
		return provider, nil
	}
	// An authorization server that is no OpenID provider has its metadata elsewhere: before its own path (RFC 8414 §3.1).
	path := strings.TrimSuffix(u.EscapedPath(), "/.well-known/openid-configuration")
	if u, err = endpoint.Parse(u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + path); err != nil {
		return nil, fmt.Errorf("URL of the server's metadata: %w", err)
	}
	server := fromMetadata(client, u, config.Issuer)
	return func(ctx context.Context, before *held) (*held, error) {
		got, err := provider(ctx, before)
		if failed, ok := errors.AsType[*endpoint.Error](err); ok && failed.Status == http.StatusNotFound {
			return server(ctx, before)
		}
		return got, err
	}, nil
}

// fromMetadata gets keys from where provider or server metadata says that they are. The metadata is fetched anew each time, for
// an issuer may move its keys. issuer is what it must name; empty: any.
func fromMetadata(client *http.Client, u *url.URL, issuer string) source {
	return func(ctx context.Context, before *held) (*held, error) {
		document, _, err := get(ctx, client, u)
		if err != nil {
			return nil, err
		}
		said, err := parseMetadata(document)
		if err != nil {
			return nil, err
		}
		// OpenID Connect Discovery 1.0 §4.3: otherwise one issuer could speak for another.
		if issuer != "" && said.issuer != issuer {
			return nil, errIssuer
		}
		keys, err := endpoint.Follow(u, said.keys)
		if err != nil {
			return nil, errURL
		}
		if !endpoint.Local(u) && !strings.EqualFold(keys.Host, u.Host) {
			ctx = endpoint.Outside(ctx, keys)
		}
		got, err := fromURL(client, keys)(ctx, before)
		if err != nil {
			return nil, err
		}
		got.issuer = said.issuer
		return got, nil
	}
}

// get reads one document.
func get(ctx context.Context, client *http.Client, u *url.URL) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, &endpoint.Error{Failure: endpoint.Unreachable}
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	return endpoint.Do(client, r, maxDocument)
}

// youthOf returns how long an answer says it is fresh (RFC 9111 §5.2.2), within what is sensible; 0 where it says
// nothing.
func youthOf(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minYouth
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			return min(max(time.Duration(seconds)*time.Second, minYouth), maxYouth)
		}
	}
	return 0
}

// stamp tells one content of a file from another without reading it.
type stamp struct{ info fs.FileInfo }

// same reports whether two stamps are of one unchanged file.
func (s stamp) same(other stamp) bool {
	return s.info != nil && other.info != nil && os.SameFile(s.info, other.info) &&
		s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime())
}

// fromFile reads keys from a file, where it is not the one that was read before.
func fromFile(path string) source {
	return func(_ context.Context, before *held) (*held, error) {
		// Looked at before it is opened: opening a pipe would wait for a writer.
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return nil, errUnreadable
		}
		if before != nil && before.stamp.same(stamp{info}) {
			confirmed := *before
			return &confirmed, nil
		}
		file, err := os.Open(path)
		if err != nil {
			return nil, errUnreadable
		}
		defer file.Close()
		if info, err = file.Stat(); err != nil {
			return nil, errUnreadable
		}
		document, err := io.ReadAll(io.LimitReader(file, maxDocument+1))
		if err != nil {
			return nil, errUnreadable
		}
		if len(document) > maxDocument {
			return nil, &endpoint.Error{Failure: endpoint.TooLarge}
		}
		keys, err := parse(document)
		if err != nil {
			return nil, err
		}
		return &held{keys: keys, stamp: stamp{info}}, nil
	}
}
