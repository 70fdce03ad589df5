// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// Twenty parked guests: the loop and the workers wake for nothing but the one deadline that is due.
func TestParkedGuestsCauseNoWakeUps(t *testing.T) {
	c := harness.SharedCluster(t)
	var guests []fixture
	for i := range 20 {
		guests = append(guests, fixture{name: fmt.Sprintf("idle-%d", i), namespace: "default", module: guest(t, "idle")})
	}
	// This one's deadline is the only thing that happens, and the end of the measurement.
	guests = append(guests, fixture{name: "clock", namespace: "default", module: guest(t, "idle"), args: []string{"8"}, restart: "Never"})
	// Leaving RAM is a wake-up of the host's own, once a guest and park: here nothing but the guests' deadlines is looked for.
	h := startHost(t, c, manifest(guests...), hostOptions{args: []string{"--sleep", "never"}})
	h.awaitCount(t, `\| idle$`, len(guests), long)

	const loop, workers = "dormouse_loop_wakeups_total", "dormouse_worker_wakeups_total"
	wakes := func(m map[string]float64) (sum float64) {
		for _, g := range guests {
			for name, value := range m {
				if strings.HasPrefix(name, fmt.Sprintf(`dormouse_guest_wakeups_total{namespace="default",pod="%s",container="main",cause=`, g.name)) {
					sum += value
				}
			}
		}
		return sum
	}
	// What looking itself costs: a connection is accepted, read, answered, closed.
	h.metrics(t)
	zero := h.metrics(t)
	before := h.metrics(t)
	looking := before[loop] - zero[loop]
	began := time.Now()
	usage := harness.Measure(t, h.PID)

	h.AwaitLine(t, `clock \| awake`, soon)
	h.AwaitLine(t, `guest ended.*default/clock`, soon)
	idleFor := time.Since(began)
	usageAfter := harness.Measure(t, h.PID)
	after := h.metrics(t)

	// The clock's deadline: one worker wakes, and its end is told to the loop (a wake-up or two).
	if n := after[workers] - before[workers]; n > 2 {
		t.Errorf("workers woke %v times in %v for one deadline", n, idleFor)
	}
	if n := after[loop] - before[loop] - looking; n > 4 {
		t.Errorf("the loop woke %v times in %v", n, idleFor)
	}
	if n := wakes(after) - wakes(before); n != 1 {
		t.Errorf("the guests were resumed %v times for one deadline", n)
	}
	if n := usageAfter.Wakeups - usage.Wakeups; n > 10 {
		t.Errorf("the kernel counts %d wake-ups of all threads in %v", n, idleFor)
	}
	if used := usageAfter.CPU - usage.CPU; used > 20*time.Millisecond {
		t.Errorf("%v of CPU in %v", used, idleFor)
	}
	if idleFor < 2*time.Second {
		t.Errorf("the measurement lasted %v: the machine is too slow for it to say anything", idleFor)
	}
}

// The host's own code was wanted at its start. Nobody leaves RAM here who would see to it.
func TestAnIdleHostsOwnCodeLeavesRAM(t *testing.T) {
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(fixture{name: "resident", namespace: "default", module: guest(t, "idle")}), hostOptions{args: []string{"--sleep", "never"}})
	h.awaitCount(t, `\| idle$`, 1, long)
	atStart := mappedProgram(t, h.PID)
	if atStart < 6<<20 {
		t.Errorf("%d bytes of the program are mapped at the start: too few for this test to say anything", atStart)
	}
	eventually(t, long, func() string {
		if now := mappedProgram(t, h.PID); now > 5<<20 {
			return fmt.Sprintf("%d bytes of the program are mapped, %d were at the start", now, atStart)
		}
		return ""
	})
	h.metrics(t) // It still runs.
}

// mappedProgram is how much of a process's executable file, in bytes, is in its page tables.
func mappedProgram(t *testing.T, pid int) (mapped uint64) {
	t.Helper()
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		t.Fatal(err)
	}
	ofProgram, writable := false, false
	for line := range strings.Lines(string(maps)) {
		words := strings.Fields(line)
		if len(words) > 1 && strings.Contains(words[0], "-") {
			ofProgram, writable = words[len(words)-1] == program, strings.Contains(words[1], "w")
		}
		if ofProgram && !writable && words[0] == "Rss:" {
			kilobytes, err := strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			mapped += kilobytes << 10
		}
	}
	return mapped
}
