// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	"dormouse.dev/e2e/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	informerCount = 50
	recovery      = 90 * time.Second // Clients back off up to 30 s.
)

// broken runs a claim on each target, with a cluster and a proxy of its own that it may break.
func broken(t *testing.T, claim func(t *testing.T, pair *target.Pair, to *target.Target, ns string)) {
	t.Helper()
	c := harness.StartCluster(t, "--with", "apiserver", "--no-wait-sa")
	pair := target.Start(t, c, c.Kubeconfig)
	pair.Each(t, func(t *testing.T, to *target.Target) { claim(t, pair, to, pair.Namespace(t)) })
}

func TestInformersSurviveAKilledAPIServer(t *testing.T) {
	broken(t, func(t *testing.T, pair *target.Pair, to *target.Target, ns string) {
		f := start(t, pair, to, ns, informerCount)
		f.change(1)
		pair.Cluster.KillAPIServer(t)
		pair.Cluster.StartAPIServer(t)
		f.change(2)
		f.settled("end", recovery)
		pair.Cluster.RestartAPIServer(t)
		f.change(3)
		f.settled("end-again", recovery)
	})
}

func TestInformersSurviveCompaction(t *testing.T) {
	broken(t, func(t *testing.T, pair *target.Pair, to *target.Target, ns string) {
		f := start(t, pair, to, ns, informerCount)
		f.change(1)
		// With the API server away nobody follows; what happened meanwhile is compacted before it is back.
		old := revision(t, pair.Cluster)
		for round := range 30 {
			f.change(round)
		}
		compact(t, pair.Cluster, revision(t, pair.Cluster))
		f.change(40)
		pair.Cluster.KillAPIServer(t)
		compact(t, pair.Cluster, revision(t, pair.Cluster))
		pair.Cluster.StartAPIServer(t)
		f.change(41)
		f.settled("end", recovery)
		path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps?resourceVersion=%d&resourceVersionMatch=Exact", ns, old)
		if got := to.Get(t, target.Within(t, recovery, "410"), path).Status(); got != "410 Expired" {
			t.Errorf("LIST of a compacted revision: got %s, want 410 Expired", got)
		}
	})
}

func TestInformersSurviveAnAPIServerWithoutWatchCache(t *testing.T) {
	broken(t, func(t *testing.T, pair *target.Pair, to *target.Target, ns string) {
		f := start(t, pair, to, ns, informerCount)
		f.change(1)
		pair.Cluster.KillAPIServer(t)
		pair.Cluster.StartAPIServer(t, "--watch-cache=false")
		f.change(2)
		f.settled("end", recovery)
		f.change(3)
		f.settled("end-again", recovery)
		pair.Cluster.KillAPIServer(t)
		pair.Cluster.StartAPIServer(t, "--watch-cache=true")
		f.change(4)
		f.settled("end-at-last", recovery)
	})
}

// Time travel: etcd comes back as it was, with lower revisions and without objects that clients have seen.
func TestInformersSurviveAnOlderEtcd(t *testing.T) {
	broken(t, func(t *testing.T, pair *target.Pair, to *target.Target, ns string) {
		if to.Name == target.Direct {
			t.Skip("an API server that has gone back leaves a watch from a later revision open in silence (seen: no event in 90 s), so its clients have no claim")
		}
		c := pair.Cluster
		f := start(t, pair, to, ns, informerCount)
		f.change(1)
		c.KillAPIServer(t)
		c.KillEtcd(t)
		past := t.TempDir() + "/etcd"
		copyDir(t, c.EtcdDir(), past)
		c.StartEtcd(t)
		c.StartAPIServer(t)
		for round := range 20 {
			f.change(10 + round)
		}
		f.settled("never-was", recovery)
		c.KillAPIServer(t)
		c.KillEtcd(t)
		if err := os.RemoveAll(c.EtcdDir()); err != nil {
			t.Fatal(err)
		}
		copyDir(t, past, c.EtcdDir())
		c.StartEtcd(t)
		c.StartAPIServer(t)
		f.change(2)
		f.settled("end", recovery)
	})
}

// A slow line: directly each informer pulls its own copy through it, so there are three of them.
func TestInformersKeepUpOverASlowLine(t *testing.T) {
	c := harness.StartCluster(t, "--with", "apiserver", "--no-wait-sa")
	line := c.StartProxy(t)
	kubeconfig := c.KubeconfigVia(t, "https://"+line.Address)
	pair := target.Start(t, c, kubeconfig)
	slow := *pair.Direct.Config
	slow.Host = "https://" + line.Address
	pair.Each(t, func(t *testing.T, to *target.Target) {
		ns, count := pair.Namespace(t), informerCount
		if to.Name == target.Direct {
			to, count = pair.Over(t, to, &slow), 3
		}
		line.Throttle(10 << 10)
		defer line.Throttle(0)
		f := start(t, pair, to, ns, count)
		f.change(1)
		f.change(2)
		f.settled("end", recovery)
		line.Cut()
		f.change(3)
		f.settled("end-again", recovery)
	})
}

// A right that is taken away ends the watch, though it was opened while it held.
func TestARevokedRightEndsTheWatch(t *testing.T) {
	c := harness.StartCluster(t, "--with", "apiserver", "--no-wait-sa")
	pair := target.Start(t, c, c.Kubeconfig)
	pair.Each(t, func(t *testing.T, to *target.Target) {
		if to.Name == target.Direct {
			t.Skip("the API server authorises a watch once, when it is opened: it lives on for 30 to 60 minutes")
		}
		ns := pair.Namespace(t)
		c.Apply(t, ns, strings.ReplaceAll(revocable, "NS", ns))
		other := pair.Dormouse.Watch(t, target.Within(t, 2*time.Minute, "the administrator's watch"), "/api/v1/namespaces/"+ns+"/configmaps?watch=true&resourceVersion=0")
		user := pair.As(t, pair.Token(t, ns, "user"))
		ctx := target.Within(t, time.Minute, "the end of the watch")
		w := user.Dormouse.Watch(t, ctx, "/api/v1/namespaces/"+ns+"/configmaps?watch=true&resourceVersion=0")
		c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: before}}`)
		if e := w.Take(t, 1)[0]; e.String() != "ADDED before" {
			t.Fatalf("got %v", e)
		}
		begin := time.Now()
		if err := c.Client.RbacV1().RoleBindings(ns).Delete(t.Context(), "user", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for {
			e, err := w.Next()
			if err == io.EOF || e.Type == "ERROR" {
				break
			}
			if err != nil {
				t.Fatalf("%v after the right was taken away the watch is still open: %v", time.Since(begin), err)
			}
		}
		took := time.Since(begin)
		t.Logf("the watch ended %.1f s after the right was taken away", took.Seconds())
		if took > 30*time.Second {
			t.Errorf("the watch lived for %v after the right was taken away; 30 s is the bound", took)
		}
		if got := user.Dormouse.Get(t, ctx, "/api/v1/namespaces/"+ns+"/configmaps").Status(); got != "403 Forbidden" {
			t.Errorf("after that a LIST gets %s", got)
		}
		c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: after}}`)
		for e := other.Take(t, 1)[0]; e.String() != "ADDED after"; e = other.Take(t, 1)[0] {
		}
	})
}

const revocable = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: user}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: user}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: user}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: user}
subjects: [{kind: ServiceAccount, name: user, namespace: NS}]
`

// etcd asks etcd's own JSON gateway.
func etcd(t *testing.T, c *harness.Cluster, path string, request any) []byte {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post(c.EtcdURL()+path, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("etcd %s: %s, %v: %s", path, response.Status, err, answer)
	}
	return answer
}

// revision is etcd's current one.
func revision(t *testing.T, c *harness.Cluster) int64 {
	t.Helper()
	match := regexp.MustCompile(`"revision":"([0-9]+)"`).FindSubmatch(etcd(t, c, "/v3/maintenance/status", map[string]any{}))
	if match == nil {
		t.Fatal("etcd's status names no revision")
	}
	n, err := strconv.ParseInt(string(match[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// compact makes etcd forget everything before a revision.
func compact(t *testing.T, c *harness.Cluster, at int64) {
	t.Helper()
	etcd(t, c, "/v3/kv/compaction", map[string]any{"revision": fmt.Sprint(at), "physical": true})
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if output, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v\n%s", from, err, output)
	}
}
