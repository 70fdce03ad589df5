// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
)

const (
	readySeconds = 120 // A loaded two-core machine needs 20; past this something is wrong.
	stopGrace    = 10 * time.Second
)

// cluster is the supervisor: the parent process of etcd and of the Kubernetes components.
type cluster struct {
	dir           string
	parts         []string // In order of start; etcd and kube-apiserver come first.
	apiserverArgs []string
	say           func(format string, args ...any)

	mutex     sync.Mutex // Guards the rest; held across a start or stop, for these must not overlap.
	state     state
	processes map[string]*process
	failed    chan error // The first unexpected end.
}

func newCluster(dir string, with []string, apiserverArgs []string, say func(string, ...any)) (*cluster, error) {
	c := &cluster{dir: dir, apiserverArgs: apiserverArgs, say: say, processes: map[string]*process{}, failed: make(chan error, 1)}
	c.parts = []string{etcdName}
	wanted := map[string]bool{}
	for _, name := range with {
		wanted["kube-"+strings.TrimPrefix(strings.TrimSpace(name), "kube-")] = true
	}
	for _, name := range []string{apiserverName, managerName, schedulerName} {
		if wanted[name] {
			c.parts = append(c.parts, name)
			delete(wanted, name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("--with: no component %q; choose from apiserver, controller-manager, scheduler", strings.TrimPrefix(name, "kube-"))
	}
	if len(c.parts) < 2 || c.parts[1] != apiserverName {
		return nil, errors.New("--with: apiserver is missing, and nothing works without it")
	}
	c.state = state{
		Version: version.Get().GitVersion, Dir: dir, PID: os.Getpid(), Components: map[string]*componentState{},
		CA: filepath.Join(dir, "pki", "ca.crt"), Kubeconfig: filepath.Join(dir, "admin.kubeconfig"), AuditLog: filepath.Join(dir, "audit.log"),
	}
	taken := map[int]bool{}
	for _, name := range c.parts {
		port, err := freePort(taken)
		if err != nil {
			return nil, err
		}
		c.state.Components[name] = &componentState{Port: port, Log: filepath.Join(dir, "logs", name+".log")}
	}
	peer, err := freePort(taken)
	if err != nil {
		return nil, err
	}
	c.state.Components[etcdName].PeerPort = peer
	c.state.Server = fmt.Sprintf("https://127.0.0.1:%d", c.state.Components[apiserverName].Port)
	return c, nil
}

// up starts everything and returns when the API is ready, and the default ServiceAccount is there if waitSA.
func (c *cluster) up(ctx context.Context, waitSA bool) error {
	begin := time.Now()
	if err := makePKI(filepath.Join(c.dir, "pki"), c.state.Server, c.state.Kubeconfig); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "audit-policy.yaml"), []byte(auditPolicy), 0o644); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.state.Kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "testcluster"
	for _, name := range c.parts {
		if err := c.start(ctx, name); err != nil {
			return err
		}
		if name == etcdName || name == apiserverName { // The others come up side by side.
			c.say("%s %.1f s", name, time.Since(begin).Seconds())
		}
	}
	for _, name := range c.parts[2:] {
		if err := c.await(ctx, name); err != nil {
			return err
		}
		c.say("%s %.1f s", name, time.Since(begin).Seconds())
	}
	if waitSA && c.state.Components[managerName] != nil {
		if err := awaitDefaultServiceAccount(ctx, config); err != nil {
			return err
		}
		c.say("default ServiceAccount %.1f s", time.Since(begin).Seconds())
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.state.Ready = true
	return c.state.write()
}

// start starts one part; it waits until etcd or the API server answers.
func (c *cluster) start(ctx context.Context, name string) error {
	if err := c.launch(name); err != nil {
		return err
	}
	if name == etcdName || name == apiserverName {
		return c.await(ctx, name)
	}
	return nil
}

func (c *cluster) launch(name string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	part := c.state.Components[name]
	if part == nil {
		return fmt.Errorf("this cluster has no %s", name)
	}
	if part.PID != 0 {
		return fmt.Errorf("%s is already running (pid %d)", name, part.PID)
	}
	p, err := startProcess(name, part.Log, c.arguments(name))
	if err != nil {
		return err
	}
	c.processes[name] = p
	part.PID = p.command.Process.Pid
	go func() {
		<-p.done
		c.mutex.Lock()
		defer c.mutex.Unlock()
		if c.processes[name] == p {
			part.PID = 0
			c.state.write() //nolint:errcheck // Told by the next write.
		}
		if !p.expected {
			select {
			case c.failed <- p.failure():
			default:
			}
		}
	}()
	return c.state.write()
}

// replaceArguments takes effect when the API server is started next.
func (c *cluster) replaceArguments(apiserver []string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.apiserverArgs = apiserver
}

// kill ends one part as `kill -9` does, and returns when it is gone.
func (c *cluster) kill(name string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	p, part := c.processes[name], c.state.Components[name]
	if p == nil || part.PID == 0 {
		return fmt.Errorf("%s is not running", name)
	}
	p.expected = true
	p.kill()
	part.PID = 0
	return c.state.write()
}

// down stops everything, clients before servers.
func (c *cluster) down() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, p := range c.processes {
		p.expected = true
	}
	var clients sync.WaitGroup
	for _, name := range []string{schedulerName, managerName} {
		if p := c.processes[name]; p != nil {
			clients.Go(func() { p.stop(stopGrace) })
		}
	}
	clients.Wait()
	for _, name := range []string{apiserverName, etcdName} {
		if p := c.processes[name]; p != nil {
			p.stop(stopGrace)
		}
	}
	for _, part := range c.state.Components {
		part.PID = 0
	}
	c.state.Ready = false
	c.state.PID = 0
	c.state.write() //nolint:errcheck // We are about to leave.
}

// await returns when a part answers its health check. Nothing announces that, hence the polling.
func (c *cluster) await(ctx context.Context, name string) error {
	c.mutex.Lock()
	p, port := c.processes[name], c.state.Components[name].Port
	c.mutex.Unlock()
	url := fmt.Sprintf("https://127.0.0.1:%d", port)
	path := "/readyz"
	config := &rest.Config{Host: url, TLSClientConfig: rest.TLSClientConfig{CAFile: c.state.CA}, Timeout: 5 * time.Second}
	switch name {
	case etcdName:
		config, path = &rest.Config{Host: fmt.Sprintf("http://127.0.0.1:%d", port), Timeout: 5 * time.Second}, "/readyz"
	case managerName:
		path = "/healthz"
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	deadline := time.After(readySeconds * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := "no answer"
	for {
		response, err := client.Get(config.Host + path)
		switch {
		case err != nil:
			last = err.Error()
		default:
			response.Body.Close()
			if response.StatusCode == 200 {
				return nil
			}
			last = response.Status
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return fmt.Errorf("%s is not ready after %d s (%s); the end of %s:\n%s", name, readySeconds, last, p.log, tail(p.log, 20))
		case <-tick.C:
		}
	}
}

// awaitDefaultServiceAccount returns when pods can be made in namespace default.
func awaitDefaultServiceAccount(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readySeconds*time.Second, errors.New("no default ServiceAccount; see logs/kube-controller-manager.log"))
	defer cancel()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for ctx.Err() == nil { // A watch ends when the server likes.
		watch, err := client.CoreV1().ServiceAccounts("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		for event := range watch.ResultChan() {
			if event.Type == "ADDED" {
				watch.Stop()
				return nil
			}
		}
	}
	return context.Cause(ctx)
}
