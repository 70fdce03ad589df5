// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// hostiles are twenty guests that do what no guest should.
func hostiles(t *testing.T) []fixture {
	t.Helper()
	one := func(name, module, memory, cpu string, args ...string) fixture {
		return fixture{name: name, namespace: "default", module: guest(t, module), args: args, memory: memory, cpu: cpu, grace: 1}
	}
	return []fixture{
		one("trap-unreachable", "trap", "16Mi", "", "unreachable"),
		one("trap-stack", "trap", "16Mi", "", "call-stack-exhausted"),
		one("trap-bounds", "trap", "16Mi", "", "read-out-of-bounds"),
		one("exits", "exit_code", "16Mi", "", "3"),
		one("completes", "exit_code", "16Mi", "", "0"),
		one("spins-free", "spin", "16Mi", ""),
		one("spins-free-too", "spin", "16Mi", ""),
		one("spins-limited", "spin", "16Mi", "10m"),
		one("grows", "grow", "64Mi", "", "touch"),
		one("grows-too", "grow", "32Mi", "", "touch"),
		one("fills-tmp", "fill_tmp", "32Mi", ""),
		one("floods-lines", "flood", "16Mi", "", "lines"),
		one("floods-one-line", "flood", "16Mi", "", "no-newline"),
		one("floods-binary", "flood", "16Mi", "", "binary"),
		one("opens-streams", "open_streams", "512Mi", "", "10000", "/net/kube", "stay"),
		one("sends-rubbish", "garbage", "32Mi", "", "random"),
		one("sends-long-heads", "garbage", "32Mi", "", "long-head"),
		one("sends-bad-chunks", "garbage", "32Mi", "", "endless-chunk"),
		one("reads-nothing", "slow_reader", "64Mi", "", "/api/v1/configmaps?watch=1", "20"),
		one("ignores-signals", "ignore_sigterm", "16Mi", ""),
	}
}

// Three operators work beside twenty guests that crash, loop, leak, flood, open streams without end and send garbage:
// their work is complete and in order; what the bad ones came to is told; and when they go nothing of them is left.
func TestHostileGuestsHarmNoneOfTheOthers(t *testing.T) {
	c := harness.SharedCluster(t)
	for _, g := range greeters {
		g.apply(t, c)
	}
	c.Apply(t, "default", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: hostile-reader}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, subjects: [{kind: ServiceAccount, name: default, namespace: default}]}`)
	ns := c.Namespace(t)
	bad := hostiles(t)
	good := pods(t, greeters...)
	h := startHost(t, c, good, hostOptions{})
	warmUp(t, c, ns, greeters...)

	var first harness.Usage
	for round := range 2 {
		mark := len(h.Lines())
		h.reload(t, good+manifest(bad...))
		l := &load{c: c, ns: ns, greeters: greeters, objects: 5, changes: 3}
		if round == 1 {
			l.ns = c.Namespace(t)
		}
		var checks []func()
		for _, g := range greeters {
			checks = append(checks, l.ordered(t, g))
		}
		l.start(t)()
		l.await(t, 2*time.Minute)
		for _, check := range checks {
			check()
		}
		unharmed(t, h, greeters...)
		if round == 0 {
			told(t, h)
		}

		h.reload(t, good)
		eventually(t, time.Minute, func() string {
			if all := h.ps(t); len(all) != len(greeters) {
				return fmt.Sprintf("%d pods are there", len(all))
			}
			return ""
		})
		unharmed(t, h, greeters...)
		if lines := len(h.Lines()) - mark; lines > 400_000 {
			t.Errorf("the floods came to %d lines", lines)
		}

		// The first round warms up what the host keeps (arenas, buffers, modules); the second must leave no more.
		usage := harness.Usage{}
		eventually(t, time.Minute, func() string {
			usage = harness.Measure(t, h.PID)
			switch {
			case round == 0:
				first = usage
				return ""
			case usage.FDs > first.FDs:
				return fmt.Sprintf("%d descriptors, %d after the first round", usage.FDs, first.FDs)
			case usage.Mappings > first.Mappings+8:
				return fmt.Sprintf("%d mappings, %d after the first round", usage.Mappings, first.Mappings)
			case usage.Threads > first.Threads:
				return fmt.Sprintf("%d threads, %d after the first round", usage.Threads, first.Threads)
			case usage.PSSBytes > first.PSSBytes+4<<20:
				return fmt.Sprintf("%d bytes, %d after the first round", usage.PSSBytes, first.PSSBytes)
			}
			return ""
		})
		t.Logf("after round %d: %+v", round+1, usage)
	}
}

// told checks what `dormouse ps` says of the hostile guests.
func told(t *testing.T, h *host) {
	t.Helper()
	type fate struct {
		reason   string // Of the last end.
		code     uint32
		function string // In the backtrace.
	}
	for name, want := range map[string]fate{
		"trap-unreachable": {"Error", 134, "main"},
		"trap-stack":       {"Error", 134, "call_deeper"},
		"trap-bounds":      {"Error", 134, "read_out_of_bounds"},
		"exits":            {"Error", 3, ""},
		"completes":        {"Completed", 0, ""},
		"grows":            {"OOMKilled", 7, ""},
		"grows-too":        {"OOMKilled", 7, ""},
	} {
		h.AwaitLine(t, `^[IE] \S+ guest (failed|ended) guest=default/`+name+` `, long)
		h.AwaitLine(t, `^I \S+ guest backs off guest=default/`+name+` seconds=(10|9)`, soon)
		one := h.ps(t)[name]
		last := one.LastTermination
		if last == nil || last.Reason != want.reason || last.ExitCode != want.code {
			t.Errorf("%s ended as %+v", name, last)
			continue
		}
		if trace := strings.Join(last.Backtrace, "\n"); !strings.Contains(trace, want.function) || (want.function == "") != (trace == "") {
			t.Errorf("%s: the backtrace does not name %q: %q", name, want.function, trace)
		}
		if one.Reason != "CrashLoopBackOff" && one.Restarts == 0 {
			t.Errorf("%s is %s (%s)", name, one.State, one.Reason)
		}
	}
	all := h.ps(t)
	if one := all["grows"]; one.MemoryPeakBytes > 64<<20 || one.LastTermination == nil || !strings.Contains(one.LastTermination.Message, "limit") {
		t.Errorf("grows: %+v", one)
	}
	for _, name := range []string{"spins-free", "spins-limited", "floods-lines", "reads-nothing", "opens-streams", "ignores-signals"} {
		if one := all[name]; one.State != "Running" || one.Restarts > 0 {
			t.Errorf("%s is %s (%s) with %d restarts", name, one.State, one.Reason, one.Restarts)
		}
	}
	free, limited := all["spins-free"], all["spins-limited"]
	if free.Preemptions == 0 || limited.Throttles == 0 || limited.CPUSeconds > free.CPUSeconds {
		t.Errorf("free: %+v\nlimited: %+v", free, limited)
	}
	h.AwaitLine(t, `^default/opens-streams \| opened [1-9]\d{2,3} of 10000, errno [1-9]`, soon)
}
