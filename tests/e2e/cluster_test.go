// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(thrashFile); path != "" {
		fmt.Fprintln(os.Stderr, thrash(path))
		os.Exit(1)
	}
	harness.Main(m)
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// What the whole method of proof rests on: a request made with a ServiceAccount's token is found in the audit log
// under that ServiceAccount's name, and so is one that was refused.
func TestAuditLogTellsWhichServiceAccountAsked(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: letter}
data: {text: hello}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
`)
	audit := c.Audit(t)
	config, err := clientcmd.BuildConfigFromFlags("", c.ServiceAccountKubeconfig(t, ns, "reader"))
	if err != nil {
		t.Fatal(err)
	}
	config.UserAgent = "reader-program"
	reader, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := reader.CoreV1().ConfigMaps(ns).Get(t.Context(), "letter", metav1.GetOptions{}); err != nil || got.Data["text"] != "hello" {
		t.Fatalf("the ServiceAccount reads %v, %v", got, err)
	}
	if _, err := reader.CoreV1().Secrets(ns).List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Fatal("the ServiceAccount may list Secrets, though RBAC gives it no such right")
	}
	user := harness.ServiceAccountUser(ns, "reader")
	get := audit.Await(t, harness.Filter{User: user, Verb: "get", Resource: "configmaps", Namespace: ns, Name: "letter", Code: 200}, 1, 10*time.Second)
	if get[0].UserAgent != "reader-program" {
		t.Errorf("user agent %q", get[0].UserAgent)
	}
	audit.Await(t, harness.Filter{User: user, Verb: "list", Resource: "secrets", Namespace: ns, Code: 403}, 1, 10*time.Second)
	if others := audit.Events(t, harness.Filter{User: user, Verb: "get", Code: 403}); len(others) != 0 {
		t.Errorf("the filter let through %v", harness.Requests(others))
	}
}

func TestANativeOperatorRunsAsItsServiceAccount(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: operator}}`)
	audit := c.Audit(t)
	running := harness.Native{}.Start(t, c, harness.Operator{
		Name: "kubectl", Namespace: ns, ServiceAccount: "operator",
		Native: os.Getenv("TESTCLUSTER"), Args: []string{"kubectl", "get", "configmaps"},
	})
	if code := running.Processes["kubectl"].AwaitExit(t, 30*time.Second); code != 1 {
		t.Errorf("exit code %d of a kubectl that may do nothing", code)
	}
	running.Processes["kubectl"].AwaitLine(t, "Forbidden", time.Second)
	audit.Await(t, harness.Filter{User: harness.ServiceAccountUser(ns, "operator"), Verb: "list", Resource: "configmaps", Namespace: ns, Code: 403}, 1, 10*time.Second)
}

func TestAwaitOutlivesARestartOfTheAPIServer(t *testing.T) {
	c := harness.StartCluster(t, "--with", "apiserver")
	done := make(chan error, 1)
	audit := c.Audit(t)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		done <- c.Observe(ctx, configMaps, "default", "late", func(o *unstructured.Unstructured) bool { return o != nil })
	}()
	audit.Await(t, harness.Filter{Verb: "watch", Resource: "configmaps", Stage: "ResponseStarted"}, 1, 30*time.Second)
	c.KillAPIServer(t)
	if _, err := c.Client.Discovery().ServerVersion(); err == nil {
		t.Fatal("the API server answers though it was killed")
	}
	c.StartAPIServer(t)
	late := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "late"}}
	if _, err := c.Client.CoreV1().ConfigMaps("default").Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestAwaitSeesAChangeAndADeletion(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, data: {a: "1"}}`)
	c.Patch(t, configMaps, ns, "x", `{"data":{"a":"2"}}`)
	c.Await(t, configMaps, ns, "x", 10*time.Second, func(o *unstructured.Unstructured) bool {
		a, _, _ := unstructured.NestedString(o.Object, "data", "a")
		return a == "2"
	})
	c.Delete(t, configMaps, ns, "x")
	c.AwaitGone(t, configMaps, ns, "x", 10*time.Second)
}

func TestControllersWork(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Await(t, schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, ns, "default", 30*time.Second, nil)
	c.Apply(t, ns, `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: 2
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec: {containers: [{name: c, image: none}]}
`)
	c.Await(t, schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, ns, "d", 30*time.Second, func(o *unstructured.Unstructured) bool {
		replicas, _, _ := unstructured.NestedInt64(o.Object, "status", "replicas")
		return replicas == 2
	})
}

func TestMeasureCountsWhatAProcessHolds(t *testing.T) {
	start := func(script string) harness.Usage {
		p := harness.StartProcess(t, harness.Command{Path: "/bin/sh", Args: []string{"-c", script + "; echo ready; read line"}})
		p.AwaitLine(t, "^ready$", 10*time.Second)
		return harness.Measure(t, p.PID)
	}
	plain, more := start("true"), start("exec 7</dev/null 8</dev/null; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
	if more.FDs != plain.FDs+2 {
		t.Errorf("%d descriptors, then %d with two more", plain.FDs, more.FDs)
	}
	if more.CPU < plain.CPU+20*time.Millisecond {
		t.Errorf("CPU time %v, and %v after a busy loop", plain.CPU, more.CPU)
	}
	if plain.Mappings < 5 || plain.Threads != 1 || plain.PSSBytes < 10_000 || plain.PSSBytes > 20_000_000 {
		t.Errorf("%+v", plain)
	}
}

func TestAProcessThatDiesBySignalHasNoExitCode(t *testing.T) {
	p := harness.StartProcess(t, harness.Command{Path: "/bin/sh", Args: []string{"-c", "echo one; read line"}})
	p.AwaitLine(t, "^one$", 10*time.Second)
	if code := p.Stop(10 * time.Second); code != -1 {
		t.Errorf("exit code %d", code)
	}
	q := harness.StartProcess(t, harness.Command{Path: "/bin/sh", Args: []string{"-c", "exit 3"}})
	if code := q.AwaitExit(t, 10*time.Second); code != 3 {
		t.Errorf("exit code %d", code)
	}
}
