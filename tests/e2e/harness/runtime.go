// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Operator is an operator that can run either way: as a process of its own, or as a guest.
type Operator struct {
	Name           string // Of the pod.
	Namespace      string
	ServiceAccount string // Must exist, with its rights.
	Native         string // The native binary.
	Module         string // The wasm module.
	Args           []string
	Env            map[string]string
	Annotations    map[string]string // Of the pod; for guests only.
	MemoryLimit    string            // As in a manifest, "256Mi"; for guests only.
}

// Runtime is a way to run operators. A test that is written against it proves that both ways do the same.
type Runtime interface {
	Name() string // "native" or "dormouse"
	// Start runs operators until the test ends, side by side (Dormouse: in one host).
	Start(t testing.TB, c *Cluster, operators ...Operator) *Running
}

// Running are operators that were started together.
type Running struct {
	// Processes by operator name. For Dormouse all are the same one, the host.
	Processes map[string]*Process
}

// Stop ends them as a cluster ends a pod (SIGTERM, grace period) and returns the exit codes by name.
func (r *Running) Stop(grace time.Duration) map[string]int {
	codes := map[string]int{}
	for name, process := range r.Processes {
		codes[name] = process.Stop(grace)
	}
	return codes
}

// ForEachRuntime runs a test as a sub-test a runtime. E2E_RUNTIMES ("native", "dormouse" or both) narrows them down.
func ForEachRuntime(t *testing.T, test func(t *testing.T, runtime Runtime)) {
	chosen := os.Getenv("E2E_RUNTIMES")
	if chosen == "" {
		chosen = "native,dormouse"
	}
	for _, name := range strings.Split(chosen, ",") {
		runtime := map[string]Runtime{"native": Native{}, "dormouse": Dormouse{}}[name]
		if runtime == nil {
			t.Fatalf("E2E_RUNTIMES: %q is neither native nor dormouse", name)
		}
		t.Run(name, func(t *testing.T) { test(t, runtime) })
	}
}

// Native runs each operator's native binary, with a kubeconfig that holds its ServiceAccount's token.
type Native struct{}

// Name is "native".
func (Native) Name() string { return "native" }

// Start starts a process an operator.
func (Native) Start(t testing.TB, c *Cluster, operators ...Operator) *Running {
	t.Helper()
	running := &Running{map[string]*Process{}}
	for _, o := range operators {
		env := []string{"KUBECONFIG=" + c.ServiceAccountKubeconfig(t, o.Namespace, o.ServiceAccount), "HOSTNAME=" + o.Name}
		for name, value := range o.Env {
			env = append(env, name+"="+value)
		}
		running.Processes[o.Name] = StartProcess(t, Command{Name: o.Name, Path: o.Native, Args: o.Args, Env: env})
	}
	return running
}

// Dormouse runs all operators as guests of one `dormouse run`, from a manifest.
type Dormouse struct {
	Args []string // More arguments for `dormouse run`.
	Env  []string
}

// Name is "dormouse".
func (Dormouse) Name() string { return "dormouse" }

// Start starts one host with a pod an operator.
func (d Dormouse) Start(t testing.TB, c *Cluster, operators ...Operator) *Running {
	t.Helper()
	manifest := ""
	for _, o := range operators {
		manifest += "---\n" + o.Pod()
	}
	path := filepath.Join(t.TempDir(), "pods.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	host := StartDormouse(t, c, append([]string{"run", "-f", path, "--socket", socketPath(t)}, d.Args...), d.Env...)
	running := &Running{map[string]*Process{}}
	for _, o := range operators {
		running.Processes[o.Name] = host
	}
	return running
}

// socketPath is in a folder of its own whose path is short: a unix socket's has 108 bytes at most.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// StartDormouse starts the binary that the variable DORMOUSE names, with the administrator's kubeconfig.
func StartDormouse(t testing.TB, c *Cluster, args []string, env ...string) *Process {
	t.Helper()
	binary := os.Getenv("DORMOUSE")
	if binary == "" {
		t.Fatal("DORMOUSE is not set: it names the dormouse binary")
	}
	return StartProcess(t, Command{Name: "dormouse", Path: binary, Args: args, Env: append([]string{"KUBECONFIG=" + c.Kubeconfig}, env...)})
}

// Pod is the operator's manifest. JSON strings are YAML strings, whatever they hold.
func (o Operator) Pod() string {
	var b strings.Builder
	quote := func(s string) string { q, _ := json.Marshal(s); return string(q) }
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("apiVersion: v1")
	line("kind: Pod")
	line("metadata:")
	line("  name: %s", quote(o.Name))
	line("  namespace: %s", quote(o.Namespace))
	if len(o.Annotations) > 0 {
		line("  annotations:")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Annotations)) {
		line("    %s: %s", quote(name), quote(o.Annotations[name]))
	}
	line("spec:")
	line("  serviceAccountName: %s", quote(o.ServiceAccount))
	line("  containers:")
	line("  - name: operator")
	line("    image: %s", quote(o.Module))
	if len(o.Args) > 0 {
		args, _ := json.Marshal(o.Args)
		line("    args: %s", args)
	}
	if len(o.Env) > 0 {
		line("    env:")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Env)) {
		line("    - {name: %s, value: %s}", quote(name), quote(o.Env[name]))
	}
	if o.MemoryLimit != "" {
		line("    resources: {limits: {memory: %s}}", quote(o.MemoryLimit))
	}
	return b.String()
}
