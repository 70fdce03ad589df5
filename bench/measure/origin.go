// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Origin runs bench/origin: operators that leave RAM as the origin's did. Only memory and time are theirs: no guest code runs.
type Origin struct {
	PID int

	commands io.WriteCloser
	replies  *bufio.Reader
}

// StartOrigin loads a module an operator, each with so many bytes of memory, all out when it returns.
func StartOrigin(t testing.TB, g *Group, bytes uint64, modules []string) *Origin {
	t.Helper()
	path := os.Getenv("BENCH_ORIGIN")
	arguments := append([]string{t.TempDir(), fmt.Sprint(bytes)}, modules...)
	command := exec.Command(path, arguments...)
	if g != nil {
		command = exec.Command("/bin/sh", append([]string{"-c", `echo $$ >"$0"/cgroup.procs; exec "$@"`, g.Folder, path}, arguments...)...)
	}
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	commands, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	replies, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	o := &Origin{command.Process.Pid, commands, bufio.NewReader(replies)}
	t.Cleanup(func() {
		commands.Close()
		command.Wait() //nolint:errcheck
	})
	if line, err := o.replies.ReadString('\n'); line != "ready\n" {
		t.Fatalf("bench_origin: %q %v", line, err)
	}
	return o
}

func (o *Origin) do(t testing.TB, command string, index int) (microseconds float64) {
	t.Helper()
	fmt.Fprintf(o.commands, "%s %d\n", command, index)
	line, err := o.replies.ReadString('\n')
	if err == nil {
		microseconds, err = strconv.ParseFloat(strings.TrimSpace(line), 64)
	}
	if err != nil {
		t.Fatal(err)
	}
	return microseconds
}

// In wakes an operator; Out unloads it. Microseconds.
func (o *Origin) In(t testing.TB, index int) float64  { return o.do(t, "in", index) }
func (o *Origin) Out(t testing.TB, index int) float64 { return o.do(t, "out", index) }
