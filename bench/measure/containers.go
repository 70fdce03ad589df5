// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// Containerd is a containerd of our own, with runc, for a container an operator.
type Containerd struct {
	address, folder string
	group           *Group
	count           int
}

// NoContainers is why containers cannot be measured here, or "".
func NoContainers() string {
	if os.Getuid() != 0 {
		return "not root"
	}
	for _, program := range []string{"containerd", "ctr", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (apt-get install containerd runc)"
		}
	}
	return ""
}

// StartContainerd starts one in a group; its shims stay there too.
func StartContainerd(t testing.TB, g *Group) *Containerd {
	t.Helper()
	folder, err := os.MkdirTemp("", "ctd-") // Short: the path of a unix socket is.
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	c := &Containerd{filepath.Join(folder, "s"), folder, g, 0}
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n", folder+"/root", folder+"/state", c.address)
	if err := os.WriteFile(folder+"/config.toml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	g.Start(t, harness.Command{Path: "containerd", Args: []string{"--config", folder + "/config.toml", "--log-level", "warn"}})
	for until := time.Now().Add(20 * time.Second); ; <-time.After(100 * time.Millisecond) {
		if exec.Command("ctr", "-a", c.address, "version").Run() == nil {
			return c
		}
		if time.Now().After(until) {
			t.Fatal("containerd does not answer")
		}
	}
}

// Run starts an operator in a container of its own: its binary and its kubeconfig are all there is in it.
func (c *Containerd) Run(t testing.TB, o harness.Operator, kubeconfig string) {
	t.Helper()
	c.count++
	id := fmt.Sprintf("operator-%d", c.count)
	root := filepath.Join(c.folder, id)
	for _, folder := range []string{"proc", "sys", "dev", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A hard link: as many files as there are different images. What is dynamically linked needs the system's libraries.
	if err := os.Link(o.Native, filepath.Join(root, "operator")); err != nil {
		if err := copyFile(o.Native, filepath.Join(root, "operator"), 0o755, -1, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyFile(kubeconfig, filepath.Join(root, "etc/kubeconfig"), 0o644, -1, nil); err != nil {
		t.Fatal(err)
	}
	args := []string{"-a", c.address, "run", "-d", "--null-io", "--rootfs", "--net-host", "--env", "KUBECONFIG=/etc/kubeconfig", "--env", "HOME=/tmp"}
	for _, library := range []string{"/lib", "/lib64", "/usr/lib"} {
		args = append(args, "--mount", fmt.Sprintf("type=bind,src=%s,dst=%s,options=rbind:ro", library, library))
	}
	if c.group != nil {
		args = append(args, "--cgroup", "/"+c.group.Name+"/"+id)
	}
	for name, value := range o.Env {
		args = append(args, "--env", name+"="+value)
	}
	args = append(append(args, root, id, "/operator"), o.Args...)
	if said, err := exec.Command("ctr", args...).CombinedOutput(); err != nil {
		t.Fatalf("ctr run: %v\n%s", err, said)
	}
	t.Cleanup(func() {
		exec.Command("ctr", "-a", c.address, "task", "rm", "-f", id).Run() //nolint:errcheck
		exec.Command("ctr", "-a", c.address, "container", "rm", id).Run()  //nolint:errcheck
	})
}
