// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// The supervisor listens on DIR/control.sock. A path through /proc/self/fd keeps the address short: a unix
// socket's may have 107 bytes, and a test's folder has more.
func controlAddress(dir string) (string, *os.File, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/control.sock", folder.Fd()), folder, nil
}

// serveControl answers POST /kill/NAME, /start/NAME and /stop until the process ends.
func (c *cluster) serveControl(ctx context.Context, stop func()) error {
	address, folder, err := controlAddress(c.dir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", address) // The folder stays open: the listener is bound through it.
	if err != nil {
		return fmt.Errorf("%s/control.sock: %w", c.dir, err)
	}
	_ = folder
	answer := func(do func(name string, args []string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.PathValue("name"), r.URL.Query()["arg"]); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /kill/{name}", answer(func(name string, _ []string) error { return c.kill(name) }))
	mux.HandleFunc("POST /start/{name}", answer(func(name string, args []string) error {
		if len(args) > 0 {
			c.replaceArguments(args)
		}
		return c.start(ctx, name)
	}))
	mux.HandleFunc("POST /stop", answer(func(string, []string) error { stop(); return nil }))
	go http.Serve(listener, mux) //nolint:errcheck // Ends with the process.
	return nil
}

// control sends one command to the supervisor of DIR. With untilGone it returns when the supervisor has ended.
func control(dir, command string, untilGone bool) error {
	if _, err := readState(dir); err != nil {
		return err
	}
	address, folder, err := controlAddress(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	connection, err := net.Dial("unix", address)
	if err != nil && untilGone {
		fmt.Fprintf(os.Stderr, "[testcluster] no cluster is running in %s\n", filepath.Clean(dir))
		return nil
	}
	if err != nil {
		return fmt.Errorf("no cluster is running in %s: %w", filepath.Clean(dir), err)
	}
	defer connection.Close()
	client := http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return connection, nil },
	}}
	response, err := client.Post("http://testcluster/"+command, "text/plain", nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return errors.New(string(body))
	}
	if untilGone { // The supervisor leaves the connection open; its end closes it.
		connection.Read(make([]byte, 1)) //nolint:errcheck // EOF or reset: gone either way.
		return nil
	}
	return err
}
