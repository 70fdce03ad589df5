// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
)

// kube-rs's own tests that it leaves out unless there is a cluster, from the crates that examples/rust-greeter is
// built with.
var kubeCrates = []string{"kube", "kube-client", "kube-runtime"}

// What needs more than a control plane.
var kubeExcluded = map[string]string{
	"pod_can_exec_and_write_to_stdin":                 "needs a kubelet: it runs a command in a container",
	"pod_can_exec_and_write_to_stdin_from_node_proxy": "needs a kubelet: it runs a command through the node's proxy",
	"can_get_pod_logs_and_evict":                      "needs a kubelet: it reads a container's log",
	"pod_can_await_conditions":                        "needs a kubelet: it waits until a pod runs",
}

func TestKubeRs(t *testing.T) {
	t.Parallel()
	programs := kubeTests(t)
	suite(t, nil, func(t *testing.T, to *target.Target) {
		var outcomes []outcome
		for _, program := range programs {
			outcomes = append(outcomes, runKubeTests(t, to, program)...)
		}
		report(t, outcomes, 20)
	})
}

// kubeTests builds each crate's test program out of the sources that cargo has fetched for the greeter: in one
// workspace, so that one does not test the others as they are in the registry.
func kubeTests(t *testing.T) map[string]string {
	t.Helper()
	metadata := tool(t, repository(t, "examples", "rust-greeter"), nil, "cargo", "metadata", "--format-version=1", "--locked")
	var tree struct {
		Packages []struct {
			Name, Version string
			ManifestPath  string `json:"manifest_path"`
		}
	}
	if err := json.Unmarshal(metadata, &tree); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{}
	version := ""
	for _, p := range tree.Packages {
		if slices.Contains(kubeCrates, p.Name) {
			sources[p.Name], version = filepath.Dir(p.ManifestPath), p.Version
		}
	}
	dir := cache(t, "kube-rs-"+version)
	workspace := "[workspace]\nmembers = [\"kube\", \"kube-client\", \"kube-runtime\"]\nresolver = \"3\"\n[profile.dev]\ndebug = false\n[patch.crates-io]\n"
	for _, name := range kubeCrates {
		workspace += name + " = { path = \"" + name + "\" }\n"
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		tool(t, dir, nil, "cp", "-R", sources[name], filepath.Join(dir, name))
		os.Remove(filepath.Join(dir, name, "Cargo.lock")) //nolint:errcheck // One for the workspace.
		// What publishing leaves out: in their repository each tests with its sibling.
		if name != "kube" {
			manifest, err := os.OpenFile(filepath.Join(dir, name, "Cargo.toml"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := manifest.WriteString("\n[dev-dependencies.kube]\npath = \"../kube\"\nfeatures = [\"derive\", \"client\", \"runtime\", \"ws\"]\n"); err != nil {
				t.Fatal(err)
			}
			manifest.Close()
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Cargo.toml"), []byte(workspace), 0o644); err != nil {
		t.Fatal(err)
	}
	built := tool(t, dir, []string{"CARGO_TARGET_DIR=" + filepath.Join(dir, "target")}, "cargo", "test", "--lib", "--no-run", "--workspace", "--message-format=json",
		"--features", "kube/client,kube/derive,kube/runtime,kube/ws,kube-client/ws,kube-client/rustls-tls,kube-client/ring")
	programs := map[string]string{}
	for _, line := range strings.Split(string(built), "\n") {
		var message struct {
			Executable string
			Target     struct{ Name string }
		}
		if json.Unmarshal([]byte(line), &message) == nil && message.Executable != "" {
			programs[message.Target.Name] = message.Executable
		}
	}
	if len(programs) != len(kubeCrates) {
		t.Fatalf("cargo has built %v, want a test program of each of %v", programs, kubeCrates)
	}
	return programs
}

func runKubeTests(t *testing.T, to *target.Target, program string) []outcome {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), program, "--ignored", "--list", "--format=terse").Output()
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []outcome
	for _, line := range strings.Split(string(list), "\n") {
		name, isTest := strings.CutSuffix(line, ": test")
		if !isTest {
			continue
		}
		last := name[strings.LastIndex(name, ":")+1:]
		o := outcome{name: name, skipped: kubeExcluded[last]}
		if o.skipped == "" {
			command := exec.CommandContext(target.Within(t, 2*time.Minute, name), program, "--ignored", "--exact", name, "--nocapture")
			command.Env = append(os.Environ(), "KUBECONFIG="+to.Kubeconfig)
			if output, err := command.CombinedOutput(); err != nil {
				o.failure = err.Error() + "\n" + cut(string(output), 3000)
			} else if !strings.Contains(string(output), "1 passed") {
				o.failure = "it was not run:\n" + cut(string(output), 3000)
			}
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}
