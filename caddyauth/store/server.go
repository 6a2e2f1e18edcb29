package store

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"

	"github.com/caddyserver/caddy/v2"
)

// server is where a Redis is, and as whom to speak to it.
type server struct {
	network        string // tcp or unix
	addrs          []string
	user, password string
	db             int
	tls            *tls.Config // nil: none
	cluster        bool
}

// parseServer reads a URL, after its placeholders are replaced. It takes only what Redis.URL names: timeouts, pools and
// retries are not the URL's to set, for the bound of a decision hangs on them, and `skip_verify` is no way to have TLS.
// Its errors hold nothing of the URL but the names of placeholders: anything else may be the password.
func parseServer(raw string) (server, error) {
	text, err := resolve(raw)
	if err != nil {
		return server{}, err
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return server{}, errors.New("store redis: not a URL of the form redis://host:port, rediss://host:port or unix:///path")
	}
	s := server{network: "tcp"}
	if u.User != nil {
		s.user = u.User.Username()
		s.password, _ = u.User.Password()
		if s.password == "" {
			return server{}, errors.New("store redis: the URL has a user without a password")
		}
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "6379"
	}
	if !isPort(port) {
		return server{}, errors.New("store redis: what stands for the port is no port")
	}
	switch u.Scheme {
	case "redis", "rediss":
		if host == "" {
			return server{}, errors.New("store redis: the URL has no host")
		}
		s.addrs = []string{net.JoinHostPort(host, port)}
		if db := strings.Trim(u.Path, "/"); db != "" {
			if s.db, err = database(db); err != nil {
				return server{}, err
			}
		}
		if u.Scheme == "rediss" {
			s.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		}
	case "unix":
		if u.Host != "" || u.Path == "" {
			return server{}, errors.New("store redis: a socket is written with three slashes: unix:///path")
		}
		s.network, s.addrs = "unix", []string{u.Path}
	default:
		return server{}, errors.New("store redis: the URL does not begin with redis://, rediss:// or unix://")
	}
	return s, s.parameters(u.RawQuery)
}

// parameters reads the query of the URL.
func (s *server) parameters(rawQuery string) error {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return errors.New("store redis: the parameters of the URL do not parse")
	}
	for name, values := range query {
		switch name {
		case "db":
			if len(values) > 1 {
				return errors.New("store redis: db stands twice in the URL")
			}
			if s.db != 0 {
				return errors.New("store redis: two databases in the URL")
			}
			if s.db, err = database(values[0]); err != nil {
				return err
			}
		case "cluster":
			if len(values) > 1 {
				return errors.New("store redis: cluster stands twice in the URL")
			}
			if s.cluster, err = strconv.ParseBool(values[0]); err != nil {
				return errors.New("store redis: cluster is neither true nor false")
			}
		case "addr":
			for _, addr := range values {
				if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || !isPort(port) {
					return errors.New("store redis: addr is not of the form host:port")
				}
			}
			s.addrs = append(s.addrs, values...)
		default:
			// It is not named: behind an unescaped question mark in a password it is part of that.
			return errors.New("store redis: the URL has a parameter that is none of db, cluster and addr")
		}
	}
	switch {
	case s.cluster && s.network == "unix":
		return errors.New("store redis: a cluster is not reached through a socket")
	case s.cluster && s.db != 0:
		return errors.New("store redis: a cluster has no database but 0")
	case !s.cluster && len(s.addrs) > 1:
		return errors.New("store redis: addr needs cluster=true")
	}
	return nil
}

// isPort reports whether text is a port that a server can have.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// database reads the number of a database.
func database(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("store redis: the database is not a number")
	}
	return int(n), nil
}

// resolve replaces the placeholders of a URL. In the user and the password each value is percent-encoded, so that a
// password with an @ or a / in it stays a password and does not become another host.
func resolve(raw string) (string, error) {
	scheme, rest, found := strings.Cut(raw, "://")
	at := strings.LastIndex(rest, "@")
	if !found || at < 0 {
		return credential.Text("store redis: the URL", raw)
	}
	// First as a whole, for the errors: a placeholder that is empty or not known.
	if _, err := credential.Text("store redis: the URL", raw); err != nil {
		return "", err
	}
	userinfo, err := caddy.NewReplacer().ReplaceFunc(rest[:at], func(_ string, value any) (any, error) {
		return strings.ReplaceAll(url.QueryEscape(caddy.ToString(value)), "+", "%20"), nil
	})
	if err != nil {
		return "", errors.New("store redis: the user and password of the URL cannot be read")
	}
	tail, err := caddy.NewReplacer().ReplaceOrErr(rest[at:], true, true)
	if err != nil {
		return "", errors.New("store redis: the URL cannot be read")
	}
	return scheme + "://" + userinfo + tail, nil
}
