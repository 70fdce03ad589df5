// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// state is what DIR/state.json says about a running cluster, for tests and people.
type state struct {
	Version    string                     `json:"version"` // Of Kubernetes, as the build names it.
	Dir        string                     `json:"dir"`
	PID        int                        `json:"pid"`    // Of the supervisor; all parts die with it.
	Server     string                     `json:"server"` // The API server's URL.
	CA         string                     `json:"ca"`
	Kubeconfig string                     `json:"kubeconfig"` // cluster-admin
	AuditLog   string                     `json:"auditLog"`
	Ready      bool                       `json:"ready"`
	Components map[string]*componentState `json:"components"`
}

type componentState struct {
	PID      int    `json:"pid"` // 0 while it is not running.
	Port     int    `json:"port"`
	PeerPort int    `json:"peerPort,omitempty"` // etcd's second one.
	Log      string `json:"log"`
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

func readState(dir string) (*state, error) {
	content, err := os.ReadFile(statePath(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no cluster: start one with `testcluster start --dir %s`", dir, dir)
	}
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(content, s); err != nil {
		return nil, fmt.Errorf("%s: %w", statePath(dir), err)
	}
	return s, nil
}

// write replaces the file in one step, so that a reader never sees half of it.
func (s *state) write() error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temporary := statePath(s.Dir) + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, statePath(s.Dir))
}

// lockDir makes this process the only supervisor of DIR until it ends.
func lockDir(dir string) error {
	fd, err := syscall.Open(filepath.Join(dir, "lock"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("%s/lock: %w", dir, err)
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("a cluster is already running in %s: stop it with `testcluster stop --dir %s`", dir, dir)
	}
	return nil // Held, and never closed.
}

// What a cluster leaves in its folder.
var ours = []string{"lock", "testcluster.log", "state.json", "state.json.new", "etcd", "pki", "logs", "audit.log",
	"audit-policy.yaml", "admin.kubeconfig", "admin.kubeconfig.lock", "control.sock"}

// checkDir makes DIR if need be, and refuses one that holds anything of others: a mistyped --dir costs nothing.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !slices.Contains(ours, entry.Name()) {
			return fmt.Errorf("%s holds %q, which is not a cluster's: name an empty or new folder", dir, entry.Name())
		}
	}
	return nil
}

// prepareDir makes DIR ready for a new cluster: what an earlier one left there goes.
func prepareDir(dir string) error {
	if err := checkDir(dir); err != nil {
		return err
	}
	if err := lockDir(dir); err != nil {
		return err
	}
	for _, name := range ours[2:] { // Not the lock that we hold, nor the log that we may be writing to.
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(dir, "logs"), 0o755)
}

// freePort finds a loopback port below the kernel's ephemeral range (32768 and up): an outgoing connection can
// never take it while its owner is being restarted.
func freePort(taken map[int]bool) (int, error) {
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		if taken[port] {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		listener.Close()
		taken[port] = true
		return port, nil
	}
	return 0, errors.New("no free port between 20000 and 31999 on 127.0.0.1")
}
