// SPDX-License-Identifier: Apache-2.0

// Command testcluster runs a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler) on loopback, for tests, the demo and benchmarks. The one binary is all of them, and kubectl:
// a supervisor starts it again once for each part.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage:
  testcluster start --dir DIR [--foreground] [--with apiserver,controller-manager,scheduler]
                    [--no-wait-sa] [--apiserver-arg=--FLAG=VALUE]... [--until-stdin-closes]
      starts a new cluster on free loopback ports and returns when it is ready; writes DIR/admin.kubeconfig,
      DIR/audit.log, DIR/state.json and DIR/logs/. With --foreground it stays, prints "ready" on standard output,
      and stops on SIGTERM, on SIGINT, or (with --until-stdin-closes) when its standard input ends.
  testcluster stop --dir DIR                 returns when everything has ended; fine if it has already
  testcluster kill-apiserver --dir DIR       as kill -9 does
  testcluster start-apiserver --dir DIR      on the same port; returns when it is ready; --apiserver-arg=… replaces those of start
  testcluster restart-apiserver --dir DIR    kill, then start
  testcluster kill-etcd --dir DIR            as kill -9 does; DIR/etcd may be copied and exchanged meanwhile
  testcluster start-etcd --dir DIR           on the same port; returns when it is ready
  testcluster kubectl ARGS...                kubectl; so is this binary under the name kubectl
KUBEBUILDER_ASSETS: a folder with etcd, kube-apiserver, ... to be run instead of the built-in ones.
`

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		runKubectl(os.Args[1:])
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	command, args := os.Args[1], os.Args[2:]
	switch command {
	case componentFlag:
		if len(args) == 0 {
			os.Exit(2)
		}
		os.Exit(runComponent(args[0], args[1:]))
	case "kubectl":
		runKubectl(args)
		return
	case "help", "-h", "--help":
		fmt.Print(usage)
		return
	}
	if err := run(command, args); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "testcluster:", strings.TrimSpace(err.Error()))
		}
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var o startOptions
	flags.StringVar(&o.dir, "dir", "", "")
	if command == "start" {
		flags.BoolVar(&o.foreground, "foreground", false, "")
		flags.StringVar(&o.with, "with", "apiserver,controller-manager,scheduler", "")
		flags.BoolVar(&o.noWaitSA, "no-wait-sa", false, "")
		flags.BoolVar(&o.untilStdinCloses, "until-stdin-closes", false, "")
		flags.BoolVar(&o.notify, "notify", false, "") // Internal: fd 3 is a pipe to the one who started us.
	}
	if command == "start" || command == "start-apiserver" {
		flags.Func("apiserver-arg", "", func(arg string) error { o.apiserverArgs = append(o.apiserverArgs, arg); return nil })
	}
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, usage)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q\n%s", command, flags.Arg(0), usage)
	}
	if o.dir == "" {
		return fmt.Errorf("%s: --dir is missing\n%s", command, usage)
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return err
	}
	switch command {
	case "start":
		if o.foreground {
			return supervise(o)
		}
		return startInBackground(o, args)
	case "stop":
		return control(o.dir, "stop", true)
	case "kill-apiserver":
		return control(o.dir, "kill/"+apiserverName, false)
	case "start-apiserver":
		return control(o.dir, "start/"+apiserverName+"?"+url.Values{"arg": o.apiserverArgs}.Encode(), false)
	case "kill-etcd":
		return control(o.dir, "kill/"+etcdName, false)
	case "start-etcd":
		return control(o.dir, "start/"+etcdName, false)
	case "restart-apiserver":
		if err := control(o.dir, "kill/"+apiserverName, false); err != nil {
			return err
		}
		return control(o.dir, "start/"+apiserverName, false)
	}
	return fmt.Errorf("no command %q\n%s", command, usage)
}

type startOptions struct {
	dir, with                                      string
	foreground, noWaitSA, untilStdinCloses, notify bool
	apiserverArgs                                  []string
}

// supervise is the cluster's parent process: it starts the parts and stays until told to stop.
func supervise(o startOptions) (err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	asked := errors.New("asked to stop")
	stop := func() { cancel(asked) }
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-signals; stop() }()
	if o.untilStdinCloses {
		go func() { io.Copy(io.Discard, os.Stdin); stop() }() //nolint:errcheck // Any end will do.
	}
	progress := os.Stderr
	if o.notify {
		progress = os.NewFile(3, "notify")
		syscall.CloseOnExec(3)
		defer func() { fmt.Fprintln(progress, "testcluster:", err); progress.Close() }() // Closed already if it was ready.
	}
	say := func(format string, args ...any) { fmt.Fprintf(progress, "[testcluster] "+format+"\n", args...) }

	c, err := newCluster(o.dir, strings.Split(o.with, ","), o.apiserverArgs, say)
	if err != nil {
		return err
	}
	if err := prepareDir(o.dir); err != nil {
		return err
	}
	defer c.down()
	if err := c.serveControl(ctx, stop); err != nil {
		return err
	}
	if err := c.up(ctx, !o.noWaitSA); err != nil {
		return err
	}
	if o.notify {
		fmt.Fprintln(progress, readyLine)
		progress.Close()
	} else {
		fmt.Println(readyLine)
	}
	select {
	case err := <-c.failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

const readyLine = "ready"

var errTold = errors.New("the supervisor has said why")

// startInBackground starts a supervisor in a session of its own, passes its progress on, and returns when it is
// ready or has failed.
func startInBackground(o startOptions, args []string) error {
	if o.untilStdinCloses {
		return errors.New("--until-stdin-closes needs --foreground")
	}
	if err := checkDir(o.dir); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(o.dir, "testcluster.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	command := exec.Command("/proc/self/exe", append([]string{"start", "--foreground", "--notify"}, args...)...)
	command.Args[0] = os.Args[0]
	command.Stdout, command.Stderr, command.ExtraFiles = log, log, []*os.File{writer}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return err
	}
	writer.Close()
	ready := false
	for lines := bufio.NewScanner(reader); lines.Scan(); {
		if lines.Text() == readyLine {
			ready = true
		} else {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
	if !ready {
		command.Wait() //nolint:errcheck // It has said why.
		return errTold
	}
	fmt.Printf("export KUBECONFIG=%s\n", filepath.Join(o.dir, "admin.kubeconfig"))
	return nil
}
