// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

type clusterState struct {
	PID        int
	Components map[string]struct{ PID int }
}

func stateOf(t *testing.T, dir string) clusterState {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s clusterState
	if err := json.Unmarshal(content, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func testcluster(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Getenv("TESTCLUSTER"), args...)
	command.Env = append(os.Environ(), env...)
	output, err := command.CombinedOutput()
	return string(output), err
}

// startBackground starts a cluster as a person would; it is stopped with the test.
func startBackground(t *testing.T, env []string, args ...string) (dir, output string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), strings.Repeat("a-long-name-", 10)) // Longer than a unix socket's address may be.
	t.Cleanup(func() {
		if output, err := exec.Command(os.Getenv("TESTCLUSTER"), "stop", "--dir", dir).CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, output)
		}
	})
	output, err := testcluster(t, env, append([]string{"start", "--dir", dir, "--with", "apiserver"}, args...)...)
	if err != nil {
		t.Fatalf("start: %v\n%s", err, output)
	}
	return dir, output
}

// awaitDeath follows the processes of a cluster by pidfd, which a recycled pid cannot fool.
func awaitDeath(t *testing.T, s clusterState, end func()) {
	t.Helper()
	pids := map[string]int{"supervisor": s.PID}
	for name, part := range s.Components {
		pids[name] = part.PID
	}
	fds := map[string]int{}
	for name, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatalf("%s, pid %d: %v", name, pid, err)
		}
		defer unix.Close(fd)
		fds[name] = fd
	}
	end()
	for name, fd := range fds {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
			t.Errorf("%s lives on (%v)", name, err)
		}
	}
}

func TestNoPartOutlivesAKilledSupervisor(t *testing.T) {
	dir, _ := startBackground(t, nil)
	s := stateOf(t, dir)
	if len(s.Components) != 2 {
		t.Fatalf("%+v", s)
	}
	awaitDeath(t, s, func() { syscall.Kill(s.PID, syscall.SIGKILL) }) //nolint:errcheck
}

func TestStopReturnsWhenEverythingHasEnded(t *testing.T) {
	dir, _ := startBackground(t, nil)
	s := stateOf(t, dir)
	awaitDeath(t, s, func() {
		if output, err := testcluster(t, nil, "stop", "--dir", dir); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
	})
	if output, err := testcluster(t, nil, "start", "--dir", dir, "--with", "apiserver"); err != nil {
		t.Errorf("the folder of a stopped cluster is no good any more: %v\n%s", err, output)
	}
}

func TestASecondClusterInTheSameFolderIsRefused(t *testing.T) {
	dir, _ := startBackground(t, nil)
	before := stateOf(t, dir)
	if output, err := testcluster(t, nil, "start", "--dir", dir); err == nil || !strings.Contains(output, "already running") {
		t.Errorf("%v: %s", err, output)
	}
	if after := stateOf(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the first cluster was disturbed: %v, then %v", before, after)
	}
}

func TestAFolderOfOthersIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	output, err := testcluster(t, nil, "start", "--dir", dir)
	if err == nil || !strings.Contains(output, "thesis.txt") {
		t.Errorf("%v: %s", err, output)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("it left %v there", entries)
	}
}

func TestAStartThatFailsSaysWhyAndLeavesNothingRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	output, err := testcluster(t, nil, "start", "--dir", dir, "--apiserver-arg=--no-such-flag=1")
	if err == nil || !strings.Contains(output, "no-such-flag") || !strings.Contains(output, "kube-apiserver") {
		t.Errorf("%v: %s", err, output)
	}
	if s := stateOf(t, dir); s.PID != 0 || s.Components["etcd"].PID != 0 {
		t.Errorf("%+v", s)
	}
}

func TestReadyMadeBinariesAreRunInstead(t *testing.T) {
	assets := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho ready-made >%s/was-run\nexec %s component kube-apiserver \"$@\"\n", assets, os.Getenv("TESTCLUSTER"))
	if err := os.WriteFile(filepath.Join(assets, "kube-apiserver"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	startBackground(t, []string{"KUBEBUILDER_ASSETS=" + assets})
	if _, err := os.Stat(filepath.Join(assets, "was-run")); err != nil {
		t.Error("KUBEBUILDER_ASSETS was ignored:", err)
	}
}

func TestTheClusterDiesWithTheTestThatStartedIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	command := exec.Command(os.Getenv("TESTCLUSTER"), "start", "--foreground", "--until-stdin-closes", "--dir", dir, "--with", "apiserver")
	command.Stdin = reader
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if _, err := output.Read(make([]byte, 100)); err != nil { // "ready"
		t.Fatal(err)
	}
	awaitDeath(t, stateOf(t, dir), func() { writer.Close() })
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}
