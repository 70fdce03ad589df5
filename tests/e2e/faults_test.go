// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// All faults happen to one cluster that nobody else uses, one after the other; each has its own host with all greeters.
func TestFaults(t *testing.T) {
	c := harness.StartCluster(t)
	for _, g := range greeters {
		g.apply(t, c)
	}
	for _, fault := range []struct {
		name string
		test func(*testing.T, *harness.Cluster)
	}{
		{"AKilledAPIServerLosesNothing", killedAPIServer},
		{"CutConnectionsLoseNothing", cutConnections},
		{"AServerThatFallsSilentIsLeft", silentServer},
		{"AnExpiredTokenIsReplaced", expiredToken},
		{"AServiceAccountMadeAnewGetsANewToken", remadeServiceAccount},
	} {
		t.Run(fault.name, func(t *testing.T) { fault.test(t, c) })
	}
}

// warmUp waits until every greeter has answered once, so that the fault meets working operators with open watches.
func warmUp(t *testing.T, c *harness.Cluster, ns string, chosen ...greeter) {
	t.Helper()
	for _, g := range chosen {
		c.Apply(t, ns, g.greeting(g.language+"-first", "First"))
	}
	for _, g := range chosen {
		c.Await(t, g.resource(), ns, g.language+"-first", long, greeted("First"))
	}
}

// unharmed checks that the guests are those that were started: none has ended meanwhile.
func unharmed(t *testing.T, h *host, chosen ...greeter) {
	t.Helper()
	all := h.ps(t)
	for _, g := range chosen {
		if one := all[g.name()]; one.State != "Running" || one.Restarts != 0 {
			t.Errorf("%s is %s (%s) with %d restarts: %s", g.name(), one.State, one.Reason, one.Restarts, h.Output())
		}
	}
}

func killedAPIServer(t *testing.T, c *harness.Cluster) {
	ns := c.Namespace(t)
	h := startHost(t, c, pods(t, greeters...), hostOptions{})
	warmUp(t, c, ns, greeters...)
	l := &load{c: c, ns: ns, greeters: greeters, objects: 10, changes: 3}
	finish := l.start(t)
	l.half(t)
	c.KillAPIServer(t)
	c.StartAPIServer(t)
	finish()
	l.await(t, 2*time.Minute)
	unharmed(t, h, greeters...)
}

func cutConnections(t *testing.T, c *harness.Cluster) {
	ns := c.Namespace(t)
	proxy := c.StartProxy(t)
	h := startHost(t, c, pods(t, greeters...), hostOptions{kubeconfig: c.KubeconfigVia(t, "https://"+proxy.Address)})
	warmUp(t, c, ns, greeters...)
	l := &load{c: c, ns: ns, greeters: greeters, objects: 10, changes: 3}
	finish := l.start(t)
	for range 3 { // Each time it has come back, the next cut comes.
		before := proxy.Accepted()
		proxy.Delay(20 * time.Millisecond)
		if cut := proxy.Cut(); cut == 0 {
			t.Fatal("the host has no connection through the proxy")
		}
		eventually(t, long, func() string {
			if proxy.Accepted() == before {
				return "the host has not connected again"
			}
			return ""
		})
		proxy.Delay(0)
	}
	finish()
	l.await(t, 2*time.Minute)
	unharmed(t, h, greeters...)

	// And when it cannot come back for a while.
	proxy.Refuse(true)
	proxy.Cut()
	for _, g := range greeters {
		c.Apply(t, ns, g.greeting(g.language+"-meanwhile", "Meanwhile"))
	}
	before := proxy.Accepted()
	eventually(t, long, func() string {
		if proxy.Accepted() < before+2 {
			return "the host does not try again"
		}
		return ""
	})
	proxy.Refuse(false)
	for _, g := range greeters {
		c.Await(t, g.resource(), ns, g.language+"-meanwhile", 2*time.Minute, greeted("Meanwhile"))
	}
	unharmed(t, h, greeters...)
}

// A connection on which nothing comes any more, and nothing says that it is dead.
func silentServer(t *testing.T, c *harness.Cluster) {
	ns := c.Namespace(t)
	proxy := c.StartProxy(t)
	h := startHost(t, c, pods(t, greeters...), hostOptions{kubeconfig: c.KubeconfigVia(t, "https://"+proxy.Address)})
	warmUp(t, c, ns, greeters...)
	if proxy.Stall() == 0 {
		t.Fatal("the host has no connection through the proxy")
	}
	for _, g := range greeters {
		c.Apply(t, ns, g.greeting(g.language+"-silence", "Silence"))
	}
	for _, g := range greeters { // PINGs are 30 s apart, and one must go unanswered.
		c.Await(t, g.resource(), ns, g.language+"-silence", 3*time.Minute, greeted("Silence"))
	}
	unharmed(t, h, greeters...)
}

func expiredToken(t *testing.T, c *harness.Cluster) {
	ns := c.Namespace(t)
	gate := c.StartTokenGate(t, ns)
	h := startHost(t, c, pods(t, greeters...), hostOptions{kubeconfig: gate.Kubeconfig})
	warmUp(t, c, ns, greeters...)
	// The host asks for no other token in the first 5 s of one: what refuses a token that young would refuse the next.
	<-time.After(6 * time.Second)
	for _, g := range greeters {
		if n := gate.Expire(g.user()); n != 1 {
			t.Errorf("%s has used %d tokens, before any had expired", g.name(), n)
		}
	}
	l := &load{c: c, ns: ns, greeters: greeters, objects: 5, changes: 2}
	l.start(t)()
	l.await(t, long)
	for _, g := range greeters {
		if n := gate.Tokens(g.user()); n != 2 {
			t.Errorf("%s has used %d tokens; one was to be replaced once", g.name(), n)
		}
	}
	if gate.Refused() < len(greeters) {
		t.Errorf("only %d requests were refused", gate.Refused())
	}
	unharmed(t, h, greeters...)
	// Requests without a body are made again unseen. A write's body is gone when the 401 comes, so its guest is told, and
	// writes again: once for each that was under way, of which a greeter has few.
	for _, g := range greeters {
		if n := h.count(`^default/` + g.name() + ` \| .*Unauthorized`); n > 10 {
			t.Errorf("%s-greeter saw %d refusals", g.language, n)
		}
	}
}

func remadeServiceAccount(t *testing.T, c *harness.Cluster) {
	g := greeters[0]
	ns := c.Namespace(t)
	h := startHost(t, c, pods(t, g), hostOptions{})
	warmUp(t, c, ns, g)
	audit := c.Audit(t)
	accounts := c.Client.CoreV1().ServiceAccounts("default")
	if err := accounts.Delete(t.Context(), g.name(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	g.apply(t, c)
	// The old token names an account of another uid; the API server believes it for some seconds more, for it remembers
	// whom it has seen. So the proof is a second token, asked for by the host.
	step := 0
	eventually(t, long, func() string {
		step++
		l := &load{c: c, ns: ns, greeters: []greeter{g}, objects: 1, changes: 0}
		if err := l.write(t.Context(), g, 0, step); err != nil {
			t.Fatal(err)
		}
		if events := audit.Events(t, harness.Filter{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Name: g.name(), Code: 201}); len(events) == 0 {
			return "the host has asked for no other token"
		}
		return ""
	})
	c.Apply(t, ns, g.greeting(g.language+"-after", "After"))
	c.Await(t, g.resource(), ns, g.language+"-after", long, greeted("After"))
	unharmed(t, h, g)
}

// An operator without rights sees 403 as in a cluster; the host says once which right is missing.
func TestMissingRightsAreToldOnceByVerbAndResource(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: nobody}}`)
	audit := c.Audit(t)
	h := startHost(t, c, manifest(fixture{
		name: "watcher", namespace: ns, account: "nobody", module: guest(t, "kube_get"), args: []string{"/api/v1/secrets"}, restart: "Never",
	}, fixture{
		name: "again", namespace: ns, account: "nobody", module: guest(t, "kube_get"), args: []string{"/apis/apps/v1/namespaces/" + ns + "/deployments", "/net/kube", "20"}, restart: "Never",
	}), hostOptions{})
	h.AwaitLine(t, `watcher \| .*403 Forbidden`, long)
	h.AwaitLine(t, `guest ended.*again`, long)
	user := harness.ServiceAccountUser(ns, "nobody")
	audit.Await(t, harness.Filter{User: user, Verb: "list", Resource: "secrets", Code: 403}, 1, soon)
	audit.Await(t, harness.Filter{User: user, Verb: "list", Resource: "deployments", Namespace: ns, Code: 403}, 20, soon)
	if n := h.count(`lacks the right.*list.*deployments`); n != 1 {
		t.Errorf("the host said %d times that deployments may not be listed; the guest was refused 20 times", n)
	}
	if n := h.count(`lacks the right.*list.*secrets`); n != 1 {
		t.Errorf("the host said %d times that secrets may not be listed", n)
	}
}

func TestAServiceAccountThatDoesNotExistIsNamed(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: somebody}}`)
	h := startHost(t, c, manifest(
		fixture{name: "lost", namespace: ns, account: "nowhere", module: guest(t, "kube_get"), restart: "Never"},
		fixture{name: "fine", namespace: ns, account: "somebody", module: guest(t, "kube_get"), restart: "Never"},
	), hostOptions{})
	h.AwaitLine(t, `fine \| HTTP/1\.1 200`, long)
	h.AwaitLine(t, `lost \| HTTP/1\.1 (503|401|403)`, long)
	h.AwaitLine(t, `^[EW] .*(nowhere.*(not found|does not exist)|(not found|does not exist).*nowhere)`, soon)
}
