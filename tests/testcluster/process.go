// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is one running part of the control plane.
type process struct {
	name     string
	command  *exec.Cmd
	log      string
	done     chan struct{} // Closed when it has ended and was reaped.
	expected bool          // We ended it; guarded by cluster.mutex.
}

// onForkThread runs a function on the one thread that starts children. PR_SET_PDEATHSIG is delivered when
// the *thread* that forked ends, so that thread must live as long as this process.
var onForkThread = func() func(func() error) error {
	type job struct {
		run    func() error
		result chan error
	}
	jobs := make(chan job)
	go func() {
		runtime.LockOSThread()
		for j := range jobs {
			j.result <- j.run()
		}
	}()
	return func(run func() error) error {
		j := job{run, make(chan error, 1)}
		jobs <- j
		return <-j.result
	}
}()

func startProcess(name, log string, args []string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	path, leading := executable(name)
	command := exec.Command(path, append(leading, args...)...)
	if path == "/proc/self/exe" {
		command.Args[0] = os.Args[0]
	}
	command.Stdout, command.Stderr = file, file
	command.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C reaches the supervisor alone, which then stops the parts in order.
	}
	if err := onForkThread(command.Start); err != nil {
		return nil, fmt.Errorf("starting %s (%s): %w", name, path, err)
	}
	p := &process{name: name, command: command, log: log, done: make(chan struct{})}
	go func() {
		command.Wait() //nolint:errcheck // The state is in ProcessState.
		close(p.done)
	}()
	return p, nil
}

// stop ends the process with SIGTERM, and with SIGKILL if it has not ended after the grace period.
func (p *process) stop(grace time.Duration) {
	p.command.Process.Signal(syscall.SIGTERM) //nolint:errcheck // It may have ended.
	select {
	case <-p.done:
	case <-time.After(grace):
		p.kill()
	}
}

func (p *process) kill() {
	p.command.Process.Kill() //nolint:errcheck // It may have ended.
	<-p.done
}

// failure says why the process ended, with the end of its log.
func (p *process) failure() error {
	return fmt.Errorf("%s ended unexpectedly (%v); the end of %s:\n%s", p.name, p.command.ProcessState, p.log, tail(p.log, 20))
}

func tail(path string, lines int) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > 1<<16 {
		file.Seek(-1<<16, io.SeekEnd) //nolint:errcheck // Then it reads from the start.
	}
	content, _ := io.ReadAll(file)
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}
