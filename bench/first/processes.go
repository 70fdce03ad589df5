// SPDX-License-Identifier: Apache-2.0

package first

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// group is a memory cgroup for the processes of one run; without one (no rights, no controller) it says nothing.
type group struct{ folder, usage string }

func newGroup(t testing.TB, name string) *group {
	t.Helper()
	for _, kind := range []struct{ root, usage string }{
		{"/sys/fs/cgroup/memory", "memory.usage_in_bytes"}, // Version 1, or hybrid.
		{"/sys/fs/cgroup", "memory.current"},
	} {
		folder := filepath.Join(kind.root, fmt.Sprintf("dormouse-bench-%d-%s", os.Getpid(), name))
		if os.Mkdir(folder, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, kind.usage)); err == nil {
			t.Cleanup(func() { os.Remove(folder) })
			return &group{folder, kind.usage}
		}
		os.Remove(folder)
	}
	return nil
}

// bytes is nil where it cannot be told.
func (g *group) bytes() *uint64 {
	if g == nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(g.folder, g.usage))
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// start runs a program in the group from its first instruction on.
func (g *group) start(t testing.TB, c harness.Command) *harness.Process {
	t.Helper()
	if g != nil {
		c.Name = filepath.Base(c.Path)
		c.Args = append([]string{"-c", `echo $$ >"$0"/cgroup.procs; exec "$@"`, g.folder, c.Path}, c.Args...)
		c.Path = "/bin/sh"
	}
	return harness.StartProcess(t, c)
}

// cpu is the time on a processor of all threads of some processes, in nanoseconds as the scheduler counts it.
func cpu(processes []*harness.Process) time.Duration {
	var sum int64
	for _, p := range processes {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.PID))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			first, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(first, 10, 64)
			sum += n
		}
	}
	return time.Duration(sum)
}

func pss(t testing.TB, processes []*harness.Process) (sum uint64) {
	t.Helper()
	for _, p := range processes {
		sum += harness.Measure(t, p.PID).PSSBytes
	}
	return sum
}
