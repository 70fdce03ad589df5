// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// Variables by which this test program is its own neighbour that has too little memory.
const (
	thrashFile = "E2E_THRASH_FILE"
	thrashMiB  = 40 // A little more than it may have: the kernel counts the wait for pages that were in use.

	limitMiB = 32 // Of the neighbour's group.
)

// thrash makes a file, which its own group is charged with, and writes to its pages at random through a mapping; it waits for each that
// the kernel took away again, until whoever started it has gone.
func thrash(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	for range thrashMiB {
		if _, err := file.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
	if err := file.Sync(); err != nil { // Dirty pages cannot be taken away.
		return err
	}
	bytes, err := syscall.Mmap(int(file.Fd()), 0, thrashMiB<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	syscall.Madvise(bytes, syscall.MADV_RANDOM) //nolint:errcheck
	runtime.GOMAXPROCS(8)                       // A thread that waits for a page keeps its processor, as Go sees it.
	var threads sync.WaitGroup
	for range 8 {
		threads.Go(func() {
			for os.Getppid() != 1 {
				bytes[rand.Intn(len(bytes))] = 1
			}
		})
	}
	threads.Wait()
	return errors.New("nobody waits for it any more")
}

// memoryGroup makes a cgroup that may hold so much, until the test ends.
func memoryGroup(t *testing.T, bytes int) string {
	t.Helper()
	name := fmt.Sprintf("dormouse-e2e-%d", os.Getpid())
	for _, kind := range []struct{ root, limit string }{{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"}} {
		folder := filepath.Join(kind.root, name)
		if os.Mkdir(folder, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(folder) })
		if os.WriteFile(filepath.Join(folder, kind.limit), fmt.Append(nil, bytes), 0o644) == nil {
			return folder
		}
	}
	t.Skip("no memory cgroup can be made here")
	return ""
}

// The budget is far away, but a neighbour waits for memory, and the kernel says so (PSI): those that may leave for that do.
func TestTheKernelsPressureIsHeard(t *testing.T) {
	if _, err := os.Stat("/proc/pressure/memory"); err != nil {
		t.Skip("this kernel does not tell of pressure: ", err)
	}
	group := memoryGroup(t, limitMiB<<20)
	path := filepath.Join(t.TempDir(), "pages")
	c := harness.SharedCluster(t)
	const guests = 8
	manifest := func(sleep string) (text string) {
		for i := range guests {
			text += fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: %s-%d, namespace: default, annotations: {dormouse.io/sleep: %s}}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: %s}]}
`, sleep, i, sleep, guest(t, "idle"))
		}
		return text
	}
	h := startHost(t, c, manifest("pressure")+manifest("never"), hostOptions{})
	h.awaitCount(t, `guest started`, 2*guests, long)
	if n := h.metrics(t)["dormouse_memory_page_outs_asked_total"]; n != 0 {
		t.Fatalf("%v guests were asked to leave before there was any pressure", n)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	neighbour := harness.StartProcess(t, harness.Command{Name: "neighbour", Path: "/bin/sh", Args: []string{"-c", `echo $$ >"$0"/cgroup.procs; exec "$1"`, group, self},
		Env: []string{thrashFile + "=" + path}})
	deadline := time.After(long)
	for {
		metrics := h.metrics(t)
		out := 0.0
		for name, value := range metrics {
			if strings.HasPrefix(name, "dormouse_guest_page_outs_total{") && strings.Contains(name, `pod="pressure-`) {
				out += value
			}
			if strings.HasPrefix(name, "dormouse_guest_page_outs_total{") && strings.Contains(name, `pod="never-`) && value != 0 {
				t.Fatalf("%s: %v", name, value)
			}
		}
		if out >= guests && metrics["dormouse_memory_pressure_total"] > 0 {
			break
		}
		select {
		case <-neighbour.Done():
			t.Fatalf("the neighbour has ended: %s", neighbour.Output())
		case <-deadline:
			t.Fatalf("%v of %d guests have left; the kernel told of pressure %v times", out, guests, metrics["dormouse_memory_pressure_total"])
		case <-time.After(100 * time.Millisecond):
		}
	}
	if used, budget := h.metrics(t)["dormouse_memory_used_bytes"], h.metrics(t)["dormouse_memory_budget_bytes"]; used > budget/2 {
		t.Errorf("%v bytes of %v are used: the budget may have asked them to leave", used, budget)
	}
}
