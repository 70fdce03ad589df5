// SPDX-License-Identifier: Apache-2.0

// Package peers runs other projects' own integration tests, as they come from their package registries, on the API
// server and through `dormouse proxy`. Nothing of theirs is in this tree.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dormouse.dev/conformance/target"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// cache is where what is built stays.
func cache(t *testing.T, name string) string {
	t.Helper()
	root := os.Getenv("DORMOUSE_CACHE")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		root = filepath.Join(home, ".cache", "dormouse")
	}
	dir := filepath.Join(root, "conformance", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// repository is a path below the top of this repository.
func repository(t *testing.T, elements ...string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{here, "..", "..", ".."}, elements...)...)
}

// tool runs a build tool and returns its standard output.
func tool(t *testing.T, dir string, env []string, name string, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stderr.String(), out)
	}
	return out
}

// outcome is what became of one of a peer's tests.
type outcome struct {
	name    string
	skipped string // Why, if it was not run.
	failure string // What it said, if it failed.
}

// report makes each of a peer's tests one of ours.
func report(t *testing.T, outcomes []outcome, expected int) {
	t.Helper()
	if len(outcomes) < expected {
		t.Errorf("the suite has %d tests, and there were %d when this was written: was it cut short?", len(outcomes), expected)
	}
	for _, o := range outcomes {
		t.Run(strings.ReplaceAll(o.name, "/", "_"), func(t *testing.T) {
			switch {
			case o.skipped != "":
				t.Skip(o.skipped)
			case o.failure != "":
				t.Error(o.failure)
			}
		})
	}
}

// suite starts a cluster and a proxy for each target, both at once, for a suite that minds what others leave behind.
func suite(t *testing.T, clusterArgs []string, run func(t *testing.T, to *target.Target)) {
	for _, name := range []string{target.Direct, target.Dormouse} {
		t.Run(name, func(t *testing.T) {
			if only := os.Getenv("CONFORMANCE_TARGETS"); only != "" && !strings.Contains(only, name) {
				t.Skipf("only %s is asked for", only)
			}
			t.Parallel()
			c := harness.StartCluster(t, clusterArgs...)
			pair := target.Start(t, c, c.Kubeconfig)
			for _, to := range pair.Both() {
				if to.Name == name {
					run(t, to)
				}
			}
			if name == target.Dormouse && t.Failed() {
				fmt.Println(pair.Process.Tail())
			}
		})
	}
}
