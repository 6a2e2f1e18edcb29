// Package script tests the command as its users run it: each file in testdata is a shell session.
package script

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyauth/callbacks/caddyauth"
	"github.com/rogpeppe/go-internal/testscript"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"caddy": caddycmd.Main,
		"ask":   ask,
	})
}

func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Deadline:            time.Now().Add(3 * time.Minute),
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"} {
				env.Setenv(name, env.WorkDir)
			}
			// Paths of sockets are short (108 bytes on Linux), and those of work directories are not.
			sockets, err := os.MkdirTemp("", "sock")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(sockets) })
			env.Setenv("SOCKETS", sockets)
			return nil
		},
	})
}

// ask sends a request to a server on a unix socket, and prints the status and the body:
//
//	ask <socket> <method> <url> [<header>: <value>]... [@<file of the body>]
//
// A server that is still starting is waited for.
func ask() {
	if err := asked(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ask:", err)
		os.Exit(1)
	}
}

func asked(args []string, out io.Writer) error {
	if len(args) < 3 {
		return errors.New("ask <socket> <method> <url> [<header>: <value>]... [@<file>]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	req, err := http.NewRequestWithContext(ctx, args[1], args[2], nil)
	if err != nil {
		return err
	}
	for _, arg := range args[3:] {
		if path, ok := strings.CutPrefix(arg, "@"); ok {
			file, err := os.Open(path)
			if err != nil {
				return err
			}
			defer file.Close()
			req.Body = file
			continue
		}
		name, value, _ := strings.Cut(arg, ": ")
		req.Header.Add(name, value)
	}

	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, args[0]) },
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Fprintln(out, resp.Status)
	_, err = bufio.NewReader(resp.Body).WriteTo(out)
	return err
}

// dial connects as soon as somebody listens.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-again.C:
		}
	}
}
