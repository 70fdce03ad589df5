// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// languageGuest is the fixture guest of a language (tests/guests/go, tests/guests/rust), as scripts/examples builds it.
func languageGuest(t testing.TB, language string) string {
	t.Helper()
	return filepath.Join(wanted(t, "EXAMPLES"), "guests-"+language+".wasm")
}

// What a language's runtime asks of preview 1 is there, and each way that its programs fail ends them as that language
// has it, with the reason told.
func TestGoAndRustFindWhatTheirRuntimesAskFor(t *testing.T) {
	t.Parallel()
	type end struct {
		code int
		says string // In the output.
	}
	well := end{0, "ok\n"}
	for language, parts := range map[string]map[string]end{
		"go": {
			"files /d": well, "clocks": well, "random": well, "goroutines": well, "arguments one": {0, "argument one\nvariable NAME=value\nok\n"},
			"exit":      {42, ""},
			"panic":     {2, "panic: on purpose"},
			"nil":       {2, "nil pointer dereference"},
			"deadlock":  {2, "all goroutines are asleep"},
			"memory":    {2, "fatal error: out of memory"},
			"recursion": {2, "goroutine 1"},
		},
		"rust": {
			"files /d": well, "clocks": well, "random": well, "arguments one": {0, "argument one\nvariable NAME=value\nok\n"},
			"exit":      {42, ""},
			"panic":     {134, "on purpose"},
			"bounds":    {134, "index out of bounds"},
			"abort":     {134, "std::process::abort"},
			"memory":    {134, "memory limit of 67108864 bytes reached"},
			"recursion": {134, "guests_rust::recursion"},
		},
	} {
		for arguments, want := range parts {
			args := append([]string{"run", "--memory", "64Mi", "--env", "NAME=value", "--dir", t.TempDir() + "::/d", languageGuest(t, language)}, strings.Fields(arguments)...)
			o := dormouse(t, args...)
			if o.code != want.code || !strings.Contains(o.stdout+o.stderr, want.says) {
				t.Errorf("%s %s: exit code %d, not %d with %q\n%.300s\n%.2000s", language, arguments, o.code, want.code, want.says, o.stdout, o.stderr)
			}
		}
	}
}

// The same in pods: the API, a port that a probe asks, SIGTERM, and an endless loop that holds up nobody.
func TestGoAndRustReachStreamsAndSignals(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	var all []fixture
	languages := []string{"go", "rust"}
	for _, language := range languages {
		one := func(part, restart, more string) {
			all = append(all, fixture{name: part + "-" + language, namespace: "default", module: languageGuest(t, language), args: []string{part}, memory: "64Mi", restart: restart, grace: 5, container: more})
		}
		one("loop", "", "")
		one("kube", "Never", "")
		one("signals", "", "")
		one("serve", "", "    readinessProbe: {httpGet: {path: /hello, port: 8080}, periodSeconds: 1}\n")
	}
	h := startHost(t, c, manifest(all...), hostOptions{})
	for _, language := range languages {
		h.AwaitLine(t, fmt.Sprintf(`^default/loop-%s \| looping`, language), long)
		h.AwaitLine(t, fmt.Sprintf(`^default/kube-%s \| ok`, language), long)
		h.AwaitLine(t, fmt.Sprintf(`^default/signals-%s \| ready`, language), long)
		h.AwaitLine(t, fmt.Sprintf(`^default/serve-%s \| asked GET /hello HTTP/1\.1`, language), long)
		h.AwaitLine(t, fmt.Sprintf(`^I \S+ guest is ready guest=default/serve-%s`, language), long)
	}
	now := h.ps(t)
	for _, language := range languages {
		if one := now["loop-"+language]; one.State != "Running" || one.Preemptions == 0 {
			t.Errorf("the loop in %s: %+v", language, one)
		}
		if one := now["kube-"+language]; one.State != "Terminated" || one.LastTermination.ExitCode != 0 {
			t.Errorf("kube in %s: %+v", language, one)
		}
	}
	h.Signal(syscall.SIGTERM)
	for _, language := range languages {
		h.AwaitLine(t, fmt.Sprintf(`^default/signals-%s \| got (terminated|15)`, language), long)
		h.AwaitLine(t, fmt.Sprintf(`^[IE] \S+ guest (ended|failed) guest=default/signals-%s .*exit_code=7`, language), soon)
	}
	h.AwaitExit(t, 30*time.Second)
}
