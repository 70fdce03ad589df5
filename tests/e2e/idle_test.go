// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
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
