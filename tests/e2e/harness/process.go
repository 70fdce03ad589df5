// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Command says what to run. Env is added to this process's environment, less KUBECONFIG.
type Command struct {
	Name string // For messages; the base of Path if empty.
	Path string
	Args []string
	Env  []string
	Dir  string
}

// Line is one line that a process wrote.
type Line struct {
	Stderr bool
	Text   string
}

// Process is a running program whose output is kept. It ends with the test, at the latest with the test binary.
// Threads: safe from any goroutine.
type Process struct {
	Name string
	PID  int

	command *exec.Cmd
	stdin   io.Closer
	done    chan struct{} // Closed when it has ended and all its output was read.

	mutex   sync.Mutex
	lines   []Line
	changed chan struct{} // Closed and replaced when a line comes or the output ends.
	ended   bool
}

// Children are started on one thread that never ends: PR_SET_PDEATHSIG is bound to the forking thread.
var forkThread = func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
}()

// StartProcess runs a program until the test ends: then it gets SIGTERM, and SIGKILL 10 s later. The output is
// printed when the test fails.
func StartProcess(t testing.TB, c Command) *Process {
	t.Helper()
	p, err := startProcess(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop(10 * time.Second)
		if t.Failed() {
			t.Logf("output of %s (pid %d, %v):\n%s", p.Name, p.PID, p.command.ProcessState, p.Tail())
		}
	})
	return p
}

func startProcess(c Command) (*Process, error) {
	if c.Name == "" {
		c.Name = c.Path
	}
	command := exec.Command(c.Path, c.Args...)
	command.Dir = c.Dir
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KUBECONFIG=") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, c.Env...)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &Process{Name: c.Name, command: command, stdin: stdin, done: make(chan struct{}), changed: make(chan struct{})}
	stdout, stderr := &lineWriter{process: p}, &lineWriter{process: p, stderr: true}
	command.Stdout, command.Stderr = stdout, stderr
	command.WaitDelay = 5 * time.Second // A grandchild may hold the pipes open.
	started := make(chan error)
	forkThread <- func() { started <- command.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	p.PID = command.Process.Pid
	go func() {
		command.Wait() //nolint:errcheck // The state is in ProcessState.
		stdout.finish()
		stderr.finish()
		p.mutex.Lock()
		p.ended = true
		p.mutex.Unlock()
		p.announce()
		close(p.done)
	}()
	return p, nil
}

// announce wakes whoever waits for lines.
func (p *Process) announce() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// lineWriter cuts one output stream of a process into lines.
type lineWriter struct {
	process *Process
	stderr  bool
	partial []byte
}

func (w *lineWriter) Write(bytes []byte) (int, error) {
	w.partial = append(w.partial, bytes...)
	for {
		end := slices.Index(w.partial, '\n')
		if end < 0 {
			return len(bytes), nil
		}
		w.emit(string(w.partial[:end]))
		w.partial = w.partial[end+1:]
	}
}

func (w *lineWriter) finish() {
	if len(w.partial) > 0 {
		w.emit(string(w.partial))
	}
}

func (w *lineWriter) emit(text string) {
	w.process.mutex.Lock()
	w.process.lines = append(w.process.lines, Line{w.stderr, text})
	w.process.mutex.Unlock()
	w.process.announce()
}

// Lines returns what the process has written so far.
func (p *Process) Lines() []Line {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return append([]Line(nil), p.lines...)
}

// Output is Lines as text.
func (p *Process) Output() string {
	text := ""
	for _, line := range p.Lines() {
		text += line.Text + "\n"
	}
	return text
}

// Tail is the end of the output: a flood would bury what matters.
func (p *Process) Tail() string {
	output := p.Output()
	if skip := len(output) - 64<<10; skip > 0 {
		return fmt.Sprintf("(%d bytes before)\n%s", skip, output[skip:])
	}
	return output
}

// AwaitLine returns the first line, from the start, that matches; it fails the test when the process ends
// without one or the time is up.
func (p *Process) AwaitLine(t testing.TB, pattern string, within time.Duration) string {
	t.Helper()
	line, err := p.awaitLine(regexp.MustCompile(pattern), within)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func (p *Process) awaitLine(pattern *regexp.Regexp, within time.Duration) (string, error) {
	deadline := time.After(within)
	for seen := 0; ; {
		p.mutex.Lock()
		lines, changed, ended := p.lines[seen:], p.changed, p.ended
		p.mutex.Unlock()
		for _, line := range lines {
			if pattern.MatchString(line.Text) {
				return line.Text, nil
			}
		}
		seen += len(lines)
		if ended {
			return "", fmt.Errorf("%s ended (%v) without a line that matches %q; its output:\n%s", p.Name, p.command.ProcessState, pattern, p.Tail())
		}
		select {
		case <-changed:
		case <-deadline:
			return "", fmt.Errorf("%s wrote no line that matches %q within %v; its output:\n%s", p.Name, pattern, within, p.Tail())
		}
	}
}

// AwaitLines returns the first count lines, from the start, that match; it does not end the test.
func (p *Process) AwaitLines(pattern string, count int, within time.Duration) ([]string, error) {
	matcher := regexp.MustCompile(pattern)
	deadline := time.After(within)
	var found []string
	for seen := 0; ; {
		p.mutex.Lock()
		lines, changed, ended := p.lines[seen:], p.changed, p.ended
		p.mutex.Unlock()
		for _, line := range lines {
			if matcher.MatchString(line.Text) {
				found = append(found, line.Text)
			}
		}
		seen += len(lines)
		if len(found) >= count {
			return found[:count], nil
		}
		if ended {
			return nil, fmt.Errorf("%s ended (%v) with %d of %d lines that match %q; its output:\n%s", p.Name, p.command.ProcessState, len(found), count, pattern, p.Tail())
		}
		select {
		case <-changed:
		case <-deadline:
			return nil, fmt.Errorf("%s wrote %d of %d lines that match %q within %v; its output:\n%s", p.Name, len(found), count, pattern, within, p.Tail())
		}
	}
}

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(signal syscall.Signal) { p.command.Process.Signal(signal) } //nolint:errcheck

// Done is closed when the process has ended and all its output was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// AwaitExit returns the exit code, or -1 for death by a signal.
func (p *Process) AwaitExit(t testing.TB, within time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), within, errors.New("still running"))
	defer cancel()
	select {
	case <-p.done:
		return p.command.ProcessState.ExitCode()
	case <-ctx.Done():
		t.Fatalf("%s has not ended within %v; its output:\n%s", p.Name, within, p.Output())
		return -1
	}
}

// Stop sends SIGTERM, and SIGKILL after the grace period. It returns the exit code, or -1 for death by a signal.
func (p *Process) Stop(grace time.Duration) int {
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Signal(syscall.SIGKILL)
		<-p.done
	}
	p.stdin.Close()
	return p.command.ProcessState.ExitCode()
}
