// SPDX-License-Identifier: Apache-2.0

// Package harness is what the end-to-end tests are written with: a real control plane, its audit log, operators run
// natively or as guests of Dormouse, and what processes hold and use. Everything waits by watching, nothing sleeps.
package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

const clusterStart = 3 * time.Minute // A cold start on a loaded two-core machine takes 30 s.

// Cluster is a running control plane, and an administrator's clients for it.
type Cluster struct {
	Dir        string
	Server     string // https://127.0.0.1:PORT
	CA         string // Path.
	Kubeconfig string // Path; cluster-admin.
	AuditLog   string
	Components map[string]struct{ Port int } // By name, as "etcd".
	Config     *rest.Config
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface

	process   *Process
	discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
}

var shared struct {
	sync.Mutex
	args      []string
	cluster   *Cluster
	processes []*Process
}

// Main is a package's TestMain: it runs the tests, then stops the shared cluster if one was started. Arguments are
// those of `testcluster start` for that cluster.
func Main(m *testing.M, args ...string) {
	shared.args = args
	code := m.Run()
	for _, p := range shared.processes {
		p.Stop(10 * time.Second)
	}
	if c := shared.cluster; c != nil {
		if exit := c.process.Stop(30 * time.Second); exit != 0 {
			fmt.Fprintf(os.Stderr, "testcluster ended with %d:\n%s", exit, c.process.Output())
			code = max(code, 1)
		}
		os.RemoveAll(c.Dir)
	}
	os.Exit(code)
}

// SharedCluster is the cluster that all tests of a package use side by side, each in namespaces of its own.
// It needs `TestMain` to be harness.Main. A test that kills the API server starts its own by StartCluster.
func SharedCluster(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		dir, err := os.MkdirTemp("", "dormouse-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		if shared.cluster, err = startCluster(dir, shared.args); err != nil {
			t.Fatal(err)
		}
	}
	return shared.cluster
}

// StartSharedProcess runs a program until all tests of the package have ended.
func StartSharedProcess(t testing.TB, c Command) *Process {
	t.Helper()
	p, err := startProcess(c)
	if err != nil {
		t.Fatal(err)
	}
	shared.Lock()
	defer shared.Unlock()
	shared.processes = append(shared.processes, p)
	return p
}

// StartCluster starts a cluster that ends with the test. Arguments are those of `testcluster start`.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c, err := startCluster(t.TempDir(), args)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if exit := c.process.Stop(30 * time.Second); exit != 0 {
			t.Errorf("testcluster ended with %d:\n%s", exit, c.process.Output())
		}
	})
	return c
}

func startCluster(dir string, args []string) (*Cluster, error) {
	binary := os.Getenv("TESTCLUSTER")
	if binary == "" {
		return nil, errors.New("TESTCLUSTER is not set: it names the testcluster binary, which scripts/setup testcluster builds")
	}
	args = append([]string{"start", "--foreground", "--until-stdin-closes", "--dir", filepath.Join(dir, "cluster")}, args...)
	p, err := startProcess(Command{Name: "testcluster", Path: binary, Args: args})
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Cluster, error) {
		p.Stop(30 * time.Second)
		return nil, err
	}
	if _, err := p.awaitLine(regexp.MustCompile("^ready$"), clusterStart); err != nil {
		return fail(err)
	}
	c := &Cluster{Dir: dir, process: p}
	content, err := os.ReadFile(filepath.Join(dir, "cluster", "state.json"))
	if err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(content, c); err != nil {
		return fail(err)
	}
	c.Dir = dir
	if err := c.connect(); err != nil {
		return fail(err)
	}
	return c, nil
}

func (c *Cluster) connect() (err error) {
	if c.Config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Config.QPS, c.Config.Burst, c.Config.UserAgent = -1, -1, "e2e"
	if c.Client, err = kubernetes.NewForConfig(c.Config); err != nil {
		return err
	}
	if c.Dynamic, err = dynamic.NewForConfig(c.Config); err != nil {
		return err
	}
	c.discovery = memory.NewMemCacheClient(c.Client.Discovery())
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(c.discovery)
	return nil
}

// control runs a testcluster command on this cluster.
func (c *Cluster) control(t testing.TB, command string, args ...string) {
	t.Helper()
	args = append([]string{command, "--dir", filepath.Join(c.Dir, "cluster")}, args...)
	output, err := exec.Command(os.Getenv("TESTCLUSTER"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("testcluster %s: %v\n%s", command, err, output)
	}
}

// KillAPIServer ends the API server as kill -9 does.
func (c *Cluster) KillAPIServer(t testing.TB) { t.Helper(); c.control(t, "kill-apiserver") }

// StartAPIServer starts it again, on the same port, and returns when it is ready. Arguments of its own replace those
// of the cluster's start.
func (c *Cluster) StartAPIServer(t testing.TB, args ...string) {
	t.Helper()
	var flags []string
	for _, arg := range args {
		flags = append(flags, "--apiserver-arg="+arg)
	}
	c.control(t, "start-apiserver", flags...)
}

// RestartAPIServer is KillAPIServer, then StartAPIServer.
func (c *Cluster) RestartAPIServer(t testing.TB) { t.Helper(); c.control(t, "restart-apiserver") }

// KillEtcd ends etcd as kill -9 does; what it has stored stays in EtcdDir.
func (c *Cluster) KillEtcd(t testing.TB) { t.Helper(); c.control(t, "kill-etcd") }

// StartEtcd starts it again, on the same port, and returns when it is ready.
func (c *Cluster) StartEtcd(t testing.TB) { t.Helper(); c.control(t, "start-etcd") }

// EtcdDir is where etcd keeps its data; it may be copied and exchanged while etcd does not run.
func (c *Cluster) EtcdDir() string { return filepath.Join(c.Dir, "cluster", "etcd") }

// EtcdURL is where etcd listens, without TLS.
func (c *Cluster) EtcdURL() string {
	return fmt.Sprintf("http://127.0.0.1:%d", c.Components["etcd"].Port)
}

// Namespace makes a namespace for one test and returns its name; it is deleted with the test.
func (c *Cluster) Namespace(t testing.TB) string {
	t.Helper()
	ns, err := c.Client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // Not waited for: names are unique, and an operator that holds a finalizer may be gone.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c.Client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{}) //nolint:errcheck
	})
	return ns.Name
}

// ServiceAccountKubeconfig writes a kubeconfig that holds a token of a ServiceAccount, as a pod's own
// credentials would; it returns the path.
func (c *Cluster) ServiceAccountKubeconfig(t testing.TB, namespace, name string) string {
	t.Helper()
	request, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name, tokenRequest(), metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("token of ServiceAccount %s/%s: %v", namespace, name, err)
	}
	path := filepath.Join(t.TempDir(), strings.Join([]string{namespace, name, "kubeconfig"}, "-"))
	if err := clientcmd.WriteToFile(tokenKubeconfig(c.Config, namespace, request.Status.Token), path); err != nil {
		t.Fatal(err)
	}
	return path
}
