// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Usage is what a process holds and has used at one moment, as /proc says.
type Usage struct {
	FDs      int
	Mappings int
	Threads  int
	PSSBytes uint64        // Memory, with shared pages divided among those who share them.
	CPU      time.Duration // User and system, since its start.
	Wakeups  uint64        // Voluntary context switches of all its threads: each is a return from waiting.
}

// Measure reads a process's usage. Counting its pages stops it for some milliseconds.
func Measure(t testing.TB, pid int) Usage {
	t.Helper()
	u, err := measure(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatalf("measuring pid %d: %v", pid, err)
	}
	return u
}

func measure(proc string) (Usage, error) {
	var u Usage
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return u, err
	}
	u.FDs = len(fds)
	maps, err := os.ReadFile(proc + "/maps")
	if err != nil {
		return u, err
	}
	u.Mappings = bytes.Count(maps, []byte("\n"))
	rollup, err := os.ReadFile(proc + "/smaps_rollup")
	if err != nil {
		return u, err
	}
	u.PSSBytes = 1024 * field(rollup, "Pss:")
	stat, err := os.ReadFile(proc + "/stat")
	if err != nil {
		return u, err
	}
	// The second field, the name in brackets, may hold blanks. utime and stime are fields 14 and 15, in 1/100 s.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	u.CPU = time.Duration(user+system) * 10 * time.Millisecond
	tasks, err := os.ReadDir(proc + "/task")
	if err != nil {
		return u, err
	}
	u.Threads = len(tasks)
	for _, task := range tasks {
		status, err := os.ReadFile(proc + "/task/" + task.Name() + "/status")
		if err == nil { // A thread may have ended.
			u.Wakeups += field(status, "\nvoluntary_ctxt_switches:")
		}
	}
	return u, nil
}

func field(content []byte, name string) uint64 {
	_, after, found := bytes.Cut(content, []byte(name))
	if !found {
		return 0
	}
	words := bytes.Fields(after)
	if len(words) == 0 {
		return 0
	}
	value, _ := strconv.ParseUint(string(words[0]), 10, 64)
	return value
}
