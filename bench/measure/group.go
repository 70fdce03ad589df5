// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// Group is a memory cgroup for the processes of one run; nil, where none can be made (no rights, no controller), says nothing.
type Group struct {
	Folder string // Of the file system; the group's own name is Name.
	Name   string
	v2     bool
}

// NewGroup makes one until the test ends.
func NewGroup(t testing.TB, name string) *Group {
	t.Helper()
	for _, kind := range []struct {
		root string
		v2   bool
	}{
		{"/sys/fs/cgroup/memory", false}, // Version 1, or hybrid.
		{"/sys/fs/cgroup", true},
	} {
		g := &Group{Name: fmt.Sprintf("dormouse-bench-%d-%s", os.Getpid(), name), v2: kind.v2}
		g.Folder = filepath.Join(kind.root, g.Name)
		if os.Mkdir(g.Folder, 0o755) != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(g.Folder, g.usageFile())); err == nil {
			t.Cleanup(func() {
				if !g.v2 {
					os.WriteFile(filepath.Join(g.Folder, "memory.force_empty"), []byte("0"), 0o644) //nolint:errcheck
				}
				filepath.WalkDir(g.Folder, func(path string, entry fs.DirEntry, err error) error { //nolint:errcheck
					if err == nil && entry.IsDir() && path != g.Folder {
						os.Remove(path)
					}
					return nil
				})
				os.Remove(g.Folder)
			})
			return g
		}
		os.Remove(g.Folder)
	}
	return nil
}

func (g *Group) usageFile() string {
	if g.v2 {
		return "memory.current"
	}
	return "memory.usage_in_bytes"
}

func (g *Group) number(file string) *uint64 {
	if g == nil {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(g.Folder, file))
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// Bytes is what the group is charged with: memory, page cache that its processes were the first to touch, kernel memory.
// Nil where it cannot be told.
func (g *Group) Bytes() *uint64 { return g.number(g.usageFile()) }

// Start runs a program in the group from its first instruction on.
func (g *Group) Start(t testing.TB, c harness.Command) *harness.Process {
	t.Helper()
	if g != nil {
		c.Name = filepath.Base(c.Path)
		c.Args = append([]string{"-c", `echo $$ >"$0"/cgroup.procs; exec "$@"`, g.Folder, c.Path}, c.Args...)
		c.Path = "/bin/sh"
	}
	return harness.StartProcess(t, c)
}

// PIDs are those of all processes in the group and in groups below it.
func (g *Group) PIDs() []int {
	var pids []int
	filepath.WalkDir(g.Folder, func(path string, entry fs.DirEntry, err error) error { //nolint:errcheck
		if err != nil || !entry.IsDir() {
			return nil
		}
		text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, word := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// The origin's way to find what a load needs: lower the limit a little at a time until it hurts.
const (
	squeezeStep    = 0.95 // The origin lowered by 2-3 % a second, which takes minutes from 3 GB to 30 MB.
	squeezeEvery   = 500 * time.Millisecond
	squeezePain    = 400 * time.Microsecond // All tasks of a sample stalled for so long: the origin's own threshold.
	squeezeTimeMax = 120 * time.Second
)

// Squeezed is the outcome of Squeeze.
type Squeezed struct {
	Bytes uint64 `json:"bytes"` // The last limit that did not hurt.
	Why   string `json:"why"`   // What ended it: "stall", "cannot reclaim", "time".
}

// Squeeze lowers the group's limit while `load` goes on beside, until reclaim stalls its tasks (PSI `full`) or finds nothing
// more, then lifts it again. Version 1 knows no pressure of a group, so the machine's is read: others must have memory enough.
// `from` is where to begin: far above what is needed nothing can hurt. Nil without a group.
func (g *Group) Squeeze(t testing.TB, from uint64) *Squeezed {
	t.Helper()
	if g == nil {
		return nil
	}
	limitFile, pressure, none := "memory.limit_in_bytes", "/proc/pressure/memory", "-1"
	if g.v2 {
		limitFile, pressure, none = "memory.high", filepath.Join(g.Folder, "memory.pressure"), "max"
	} else {
		os.WriteFile(filepath.Join(g.Folder, "memory.oom_control"), []byte("1"), 0o644) //nolint:errcheck // Wait, do not kill.
	}
	set := func(text string) error { return os.WriteFile(filepath.Join(g.Folder, limitFile), []byte(text), 0o644) }
	defer set(none) //nolint:errcheck
	stalled := func() time.Duration {
		text, _ := os.ReadFile(pressure)
		_, full, _ := strings.Cut(string(text), "full ")
		_, total, _ := strings.Cut(full, "total=")
		n, _ := strconv.ParseInt(strings.TrimSpace(total), 10, 64)
		return time.Duration(n) * time.Microsecond
	}
	limit, good, before := float64(from), uint64(from), stalled()
	for began := time.Now(); ; {
		if err := set(strconv.FormatUint(uint64(limit), 10)); err != nil {
			return &Squeezed{good, "cannot reclaim"} // EBUSY: version 1 tries for long before it says so.
		}
		<-time.After(squeezeEvery)
		now := stalled()
		if now-before > squeezePain {
			return &Squeezed{good, "stall"}
		}
		if text, _ := os.ReadFile(filepath.Join(g.Folder, "memory.oom_control")); strings.Contains(string(text), "under_oom 1") {
			return &Squeezed{good, "out of memory"}
		}
		if time.Since(began) > squeezeTimeMax {
			return &Squeezed{uint64(limit), "time"}
		}
		before, good = now, uint64(limit)
		limit *= squeezeStep
	}
}

// DropCache drops the page cache that the group is charged with: files, and page files of guests, are cold after it. They are written
// first, or whoever reads them next would wait for that.
func (g *Group) DropCache() {
	syscall.Sync()
	if g.v2 {
		if bytes := g.Bytes(); bytes != nil {
			os.WriteFile(filepath.Join(g.Folder, "memory.reclaim"), []byte(strconv.FormatUint(*bytes, 10)), 0o644) //nolint:errcheck // EAGAIN: less was to be had.
		}
		return
	}
	os.WriteFile(filepath.Join(g.Folder, "memory.force_empty"), []byte("0"), 0o644) //nolint:errcheck // EBUSY: what is not cache stays.
}
