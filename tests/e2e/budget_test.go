// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// anonymousBytes is what the budget counts.
func (h *host) anonymousBytes(t testing.TB) uint64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.PID))
	if err != nil {
		t.Fatal(err)
	}
	kilobytes, err := strconv.ParseUint(regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindStringSubmatch(string(status))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// Twenty-four guests of 8 MiB, all touched, in a host that may use 100 MiB: those that wait leave RAM, and go on as if
// nothing had been when their timers come.
func TestAMemoryBudgetIsKept(t *testing.T) {
	c := harness.SharedCluster(t)
	const guests, budget = 24, 100 << 20
	manifest := func(sleep string) string {
		var pods strings.Builder
		for i := range guests {
			fmt.Fprintf(&pods, `---
apiVersion: v1
kind: Pod
metadata: {name: hog-%d, namespace: default, annotations: {dormouse.io/sleep: %s}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: %s, args: [touch, stay, "%d"], resources: {limits: {memory: 8Mi}}}
`, i, sleep, guest(t, "grow"), 2+i%5)
		}
		return pods.String()
	}

	t.Run("those that may leave do", func(t *testing.T) {
		h := startHost(t, c, manifest("pressure"), hostOptions{args: []string{"--memory-budget", "100Mi"}})
		h.awaitCount(t, `\| memory.grow failed`, guests, long)
		// Each has been woken, most of them from outside RAM.
		h.awaitCount(t, `\| still there$`, 2*guests, long)
		var highest uint64
		for until := h.count(`\| still there$`) + 2*guests; h.count(`\| still there$`) < until; time.Sleep(20 * time.Millisecond) {
			highest = max(highest, h.anonymousBytes(t))
		}
		if highest > budget {
			t.Errorf("the host used %d MiB of its budget of %d", highest>>20, budget>>20)
		}
		if asked := h.metrics(t)["dormouse_memory_page_outs_asked_total"]; asked < guests/2 {
			t.Errorf("only %v guests were asked to leave", asked)
		}
		if n := h.count(`guest failed`); n != 0 {
			t.Errorf("%d guests failed", n)
		}
	})

	t.Run("those that must stay do, and the log says so once", func(t *testing.T) {
		h := startHost(t, c, manifest("never"), hostOptions{args: []string{"--memory-budget", "100Mi"}})
		h.awaitCount(t, `\| memory.grow failed`, guests, long)
		h.AwaitLine(t, `memory is above the budget, and no guest can leave RAM`, soon)
		h.awaitCount(t, `\| still there$`, 2*guests, long)
		if used := h.anonymousBytes(t); used < guests*7<<20 {
			t.Errorf("%d MiB are used: some have left", used>>20)
		}
		if n := h.count(`memory is above the budget`); n != 1 {
			t.Errorf("the log says %d times that nobody can leave", n)
		}
	})
}

func TestSleepOptionsThatAreWrongAreOneClearError(t *testing.T) {
	c := harness.SharedCluster(t)
	manifest := manifest(fixture{name: "a", namespace: "default", module: guest(t, "idle")})
	for option, want := range map[string]string{
		"--sleep=sometimes":                "--sleep: \"sometimes\" is not a way to sleep: give never, immediately",
		"--memory-budget=lots":             "--memory-budget: \"lots\" is not a quantity",
		"--memory-budget=1Mi":              "--memory-budget: 1Mi is less than a host needs",
		"--record-trace=/nonexistent/file": "--record-trace: /nonexistent/file: No such file",
	} {
		dir := shortDir(t)
		h := &host{manifest: dir + "/pods.yaml"}
		h.write(t, manifest)
		p := harness.StartDormouse(t, c, []string{"run", "-f", h.manifest, "--socket", dir + "/s", option})
		if code := p.AwaitExit(t, soon); code != 1 {
			t.Errorf("%s: exit code %d", option, code)
		}
		if !strings.Contains(p.Output(), want) {
			t.Errorf("%s: %s", option, p.Output())
		}
	}
}
