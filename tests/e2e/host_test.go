// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// What every test of this package that runs Dormouse is written with.

// wanted reads a variable that scripts/test sets.
func wanted(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set; see tests/e2e/README.md", name)
	}
	return value
}

// guest is the path of a fixture guest, such as "idle".
func guest(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(wanted(t, "GUESTS"), name+".wasm")
}

// shortDir is a folder that a unix socket's path fits into, unlike t.TempDir() of a test with a long name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// host is a `dormouse run` of a manifest.
type host struct {
	*harness.Process
	manifest string // Path; rewritten by reload.
	socket   string
	address  string // Of its metrics.
}

type hostOptions struct {
	kubeconfig string // Empty: the administrator's.
	args       []string
}

// startHost runs pods and waits until the host listens.
func startHost(t testing.TB, c *harness.Cluster, manifest string, options hostOptions) *host {
	t.Helper()
	dir := shortDir(t)
	h := &host{manifest: filepath.Join(dir, "pods.yaml"), socket: filepath.Join(dir, "s")}
	h.write(t, manifest)
	args := []string{"run", "-f", h.manifest, "--socket", h.socket, "--listen", "127.0.0.1:0"}
	if options.kubeconfig != "" {
		args = append(args, "--kubeconfig", options.kubeconfig)
	}
	h.Process = harness.StartDormouse(t, c, append(args, options.args...))
	line := h.AwaitLine(t, `listening.*127\.0\.0\.1:\d+`, 30*time.Second)
	h.address = regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	return h
}

// write replaces the manifest as editors and kubelets do: by a rename.
func (h *host) write(t testing.TB, manifest string) {
	t.Helper()
	if err := os.WriteFile(h.manifest+".new", []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.manifest+".new", h.manifest); err != nil {
		t.Fatal(err)
	}
}

// reload replaces the manifest and waits until the host has taken it up.
func (h *host) reload(t testing.TB, manifest string) {
	t.Helper()
	const done = `^I \S+ reloaded ` // Anchored: beside floods there may be millions of lines.
	before := h.count(done)
	h.write(t, manifest)
	h.awaitCount(t, done, before+1, 30*time.Second)
}

// count is how many lines match so far.
func (h *host) count(pattern string) int {
	n := 0
	matcher := regexp.MustCompile(pattern)
	for _, line := range h.Lines() {
		if matcher.MatchString(line.Text) {
			n++
		}
	}
	return n
}

// awaitCount waits until so many lines match.
func (h *host) awaitCount(t testing.TB, pattern string, count int, within time.Duration) []string {
	t.Helper()
	lines, err := h.Process.AwaitLines(pattern, count, within)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// container is what `dormouse ps -o json` says of one.
type container struct {
	Name, Image, Digest, State, Reason string
	Restarts                           int
	StartedAt                          float64
	MemoryBytes, MemoryPeakBytes       uint64
	MemoryLimitBytes                   uint64
	CPUSeconds                         float64
	Ready                              bool
	Wakeups, Preemptions, Throttles    uint64
	LastTermination                    *struct {
		Reason    string
		ExitCode  uint32
		Message   string
		Backtrace []string
	}

	pod, namespace, message string
}

// ps is what `dormouse ps -o json` says, by pod name.
func (h *host) ps(t testing.TB) map[string]container {
	t.Helper()
	output, err := exec.Command(wanted(t, "DORMOUSE"), "ps", "--socket", h.socket, "-o", "json").Output()
	if err != nil {
		t.Fatalf("dormouse ps: %v\n%s", err, stderr(err))
	}
	var all struct {
		Pods []struct {
			Namespace, Name, Message string
			Containers               []container
		}
	}
	if err := json.Unmarshal(output, &all); err != nil {
		t.Fatalf("dormouse ps -o json: %v\n%s", err, output)
	}
	containers := map[string]container{}
	for _, pod := range all.Pods {
		for _, one := range pod.Containers {
			one.pod, one.namespace, one.message = pod.Name, pod.Namespace, pod.Message
			containers[pod.Name] = one
		}
	}
	return containers
}

func stderr(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		return string(exit.Stderr)
	}
	return ""
}

// get asks the host's own server; it yields the status code and the body.
func (h *host) get(t testing.TB, path string) (int, string) {
	t.Helper()
	response, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + h.address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// metrics are the host's, by name and labels as they stand in the text.
func (h *host) metrics(t testing.TB) map[string]float64 {
	t.Helper()
	code, text := h.get(t, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, text)
	}
	values := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "#") || !found {
			continue
		}
		if strings.Contains(name, "{") { // Label values may hold blanks.
			end := strings.LastIndex(line, "}")
			name, value = line[:end+1], strings.TrimSpace(line[end+1:])
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("/metrics: %q: %v", line, err)
		}
		values[name] = number
	}
	return values
}

// freePort is a port that nobody listens on at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// eventually looks again and again until nothing is wrong, for what announces itself to nobody (descriptors, memory).
func eventually(t testing.TB, within time.Duration, wrong func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		what := wrong()
		if what == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %v still: %s", within, what)
		case <-look.C:
		}
	}
}

// fixture is a pod of a fixture guest.
type fixture struct {
	name, namespace, module string
	args                    []string
	memory, cpu             string
	restart                 string // Empty: Always.
	grace                   int    // Seconds; 0: the default.
	account                 string // Empty: default.
	spec                    string // More lines of the pod's spec, and of the container, each with its indentation.
	container               string
}

func (f fixture) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("---")
	line("apiVersion: v1")
	line("kind: Pod")
	line("metadata: {name: %s, namespace: %s, labels: {app: %s}}", f.name, f.namespace, f.name)
	line("spec:")
	if f.restart != "" {
		line("  restartPolicy: %s", f.restart)
	}
	if f.grace > 0 {
		line("  terminationGracePeriodSeconds: %d", f.grace)
	}
	if f.account != "" {
		line("  serviceAccountName: %s", f.account)
	}
	b.WriteString(f.spec)
	line("  containers:")
	line("  - name: main")
	line("    image: %s", f.module)
	if len(f.args) > 0 {
		args, _ := json.Marshal(f.args)
		line("    args: %s", args)
	}
	var limits []string
	if f.memory != "" {
		limits = append(limits, "memory: "+f.memory)
	}
	if f.cpu != "" {
		limits = append(limits, "cpu: "+f.cpu)
	}
	if len(limits) > 0 {
		line("    resources: {limits: {%s}}", strings.Join(limits, ", "))
	}
	b.WriteString(f.container)
	return b.String()
}

func manifest[T fmt.Stringer](pods ...T) string {
	text := ""
	for _, pod := range pods {
		text += pod.String()
	}
	return text
}
