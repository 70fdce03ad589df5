// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// journey is what one run of a greeter led to.
type journey struct {
	States   []string
	Events   map[string][]string
	Requests []string
}

// A greeter runs as a native process, then as a guest; each time a Greeting is made, changed, meddled with and
// deleted. Both runs must have led to the same objects by the same requests.
func TestAGreeterDoesAsAGuestWhatItDoesAsAProcess(t *testing.T) {
	c := harness.SharedCluster(t)
	for _, g := range greeters {
		t.Run(g.language, func(t *testing.T) {
			t.Parallel()
			g.apply(t, c)
			journeys := map[string]*journey{}
			harness.ForEachRuntime(t, func(t *testing.T, runtime harness.Runtime) {
				journeys[runtime.Name()] = travel(t, c, g, runtime)
			})
			native, guest := journeys["native"], journeys["dormouse"]
			if native == nil || guest == nil {
				return // E2E_RUNTIMES asked for one.
			}
			compare(t, "state", native.States, guest.States)
			compare(t, "request", native.Requests, guest.Requests)
			if !reflect.DeepEqual(native.Events, guest.Events) {
				t.Errorf("Events:\n  native %v\n  guest  %v", native.Events, guest.Events)
			}
		})
	}
}

func compare(t *testing.T, what string, native, guest []string) {
	t.Helper()
	for _, one := range native {
		if !slices.Contains(guest, one) {
			t.Errorf("%s of the native run alone: %s", what, one)
		}
	}
	for _, one := range guest {
		if !slices.Contains(native, one) {
			t.Errorf("%s of the guest's run alone: %s", what, one)
		}
	}
}

func travel(t *testing.T, c *harness.Cluster, g greeter, runtime harness.Runtime) *journey {
	j := &journey{}
	ns := c.Namespace(t)
	audit := c.Audit(t)
	if runtime.Name() == (harness.Dormouse{}).Name() {
		// What the guest itself asks for: the shared cache would answer a part of it (cache_test.go has its claims).
		runtime = harness.Dormouse{Args: []string{"--watch-cache=false"}}
	}
	running := runtime.Start(t, c, g.operator(t))
	note := func(o *unstructured.Unstructured) { j.States = append(j.States, state(o)) }

	c.Apply(t, ns, g.greeting("world", "World"))
	note(c.Await(t, g.resource(), ns, "world", long, greeted("World")))
	note(c.Await(t, configMaps, ns, "world"+g.suffix, soon, g.configMap("World")))

	c.Patch(t, g.resource(), ns, "world", `{"spec":{"name":"Moon"}}`)
	note(c.Await(t, g.resource(), ns, "world", soon, greeted("Moon")))
	note(c.Await(t, configMaps, ns, "world"+g.suffix, soon, g.configMap("Moon")))

	// Its ConfigMap is its own: whoever meddles with it is put right.
	c.Patch(t, configMaps, ns, "world"+g.suffix, `{"data":{"`+g.key+`":"meddled"}}`)
	c.Await(t, configMaps, ns, "world"+g.suffix, soon, g.configMap("Moon"))

	c.Delete(t, g.resource(), ns, "world")
	c.AwaitGone(t, g.resource(), ns, "world", soon)
	c.AwaitGone(t, configMaps, ns, "world"+g.suffix, long) // By the garbage collector, for the Greeting owned it.
	eventually(t, soon, func() string {                    // Events may come after what they tell of; equal ones become a series.
		j.Events = g.events(t, c, ns, "world")
		if len(j.Events["Greeted"]) < 1 || len(j.Events[g.farewell]) != 1 || !strings.Contains(j.Events[g.farewell][0], g.goodbye+", Moon!") {
			return fmt.Sprintf("Events are %v", j.Events)
		}
		return ""
	})

	for name, code := range running.Stop(15 * time.Second) {
		if code != 0 {
			t.Errorf("%s ended with %d after SIGTERM", name, code)
		}
	}
	proveIdentity(t, audit, g, runtime.Name())
	for _, request := range harness.Requests(audit.Events(t, harness.Filter{User: g.user()})) {
		if request.Code == 409 || request.Verb == "watch" && request.Code != 200 {
			continue // A conflict, and how a watch ends, are matters of timing.
		}
		if strings.HasPrefix(request.Namespace, "e2e-") && request.Namespace != ns {
			continue // What another test has left to whoever watches the whole cluster.
		}
		if request.Namespace == ns {
			request.Namespace = "NS"
		}
		j.Requests = append(j.Requests, request.String())
	}
	return j
}

// proveIdentity shows by the audit log that what the operator asked for it asked for as its own ServiceAccount, and that
// the host asked for nothing in its own name but that ServiceAccount's token.
func proveIdentity(t *testing.T, audit *harness.Audit, g greeter, runtime string) {
	t.Helper()
	if events := audit.Events(t, harness.Filter{User: g.user(), Group: g.group()}); len(events) == 0 {
		t.Errorf("the audit log has no request of %s for Greetings", g.user())
	}
	strangers := audit.Events(t, harness.Filter{Group: g.group(), Where: func(e harness.Event) bool {
		return e.User.Username != g.user() && e.UserAgent != "e2e" && !strings.HasPrefix(e.User.Username, "system:serviceaccount:kube-system:") &&
			!strings.HasPrefix(e.User.Username, "system:kube-controller-manager") && !strings.HasPrefix(e.User.Username, "system:apiserver")
	}})
	for _, e := range strangers {
		t.Errorf("%s (%s) asked for what only the operator should: %v", e.User.Username, e.UserAgent, harness.RequestOf(e))
	}
	if impersonated := audit.Events(t, harness.Filter{Where: func(e harness.Event) bool { return e.ImpersonatedUser != nil }}); len(impersonated) > 0 {
		t.Errorf("somebody impersonates: %v", harness.RequestOf(impersonated[0]))
	}
	if runtime != "dormouse" {
		return
	}
	tokens := harness.Filter{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Namespace: "default", Name: g.name(), Code: 201}
	if len(audit.Events(t, tokens)) == 0 {
		t.Error("the host asked for no token of the operator's ServiceAccount")
	}
	own := audit.Events(t, harness.Filter{UserAgent: "dormouse", Where: func(e harness.Event) bool {
		return !strings.HasPrefix(e.User.Username, "system:serviceaccount:")
	}})
	for _, e := range own {
		if e.ObjectRef.Subresource != "token" {
			t.Errorf("the host asked in its own name: %v", harness.RequestOf(e))
		}
	}
}

// Operator i of a chain writes what operator i+1 watches: an object that enters at the front comes out at the end.
func TestAnObjectTravelsAChainOfOperators(t *testing.T) {
	const length, objects = 5, 3
	c := harness.SharedCluster(t)
	crds, err := exec.Command(filepath.Join(examplesFolder, "chain/crds.sh"), fmt.Sprint(length)).Output()
	if err != nil {
		t.Fatalf("crds.sh: %v\n%s", err, stderr(err))
	}
	c.Apply(t, "default", string(crds))
	c.ApplyFile(t, "default", filepath.Join(examplesFolder, "chain/rbac.yaml"))
	for _, name := range []string{"chain-rust", "chain-go"} {
		t.Run(name, func(t *testing.T) {
			harness.ForEachRuntime(t, func(t *testing.T, runtime harness.Runtime) {
				ns := c.Namespace(t)
				audit := c.Audit(t)
				var operators []harness.Operator
				for i := range length {
					operators = append(operators, harness.Operator{
						Name: fmt.Sprintf("%s-%d", name, i), Namespace: "default", ServiceAccount: "chain", MemoryLimit: "128Mi",
						Native: filepath.Join(wanted(t, "EXAMPLES"), name), Module: filepath.Join(wanted(t, "EXAMPLES"), name+".wasm"),
						Env: map[string]string{"CHAIN_INDEX": fmt.Sprint(i), "CHAIN_LENGTH": fmt.Sprint(length)},
					})
				}
				runtime.Start(t, c, operators...)
				for i := range objects {
					c.Apply(t, ns, fmt.Sprintf("{apiVersion: chain.dormouse.example/v1, kind: Link0, metadata: {name: o%d}, spec: {payload: p%d}}", i, i))
				}
				last := schema.GroupVersionResource{Group: "chain.dormouse.example", Version: "v1", Resource: fmt.Sprintf("link%ds", length)}
				for i := range objects {
					o := c.Await(t, last, ns, fmt.Sprintf("o%d", i), long, nil)
					hop, _, _ := unstructured.NestedInt64(o.Object, "spec", "hop")
					payload, _, _ := unstructured.NestedString(o.Object, "spec", "payload")
					if hop != length || payload != fmt.Sprintf("p%d", i) {
						t.Errorf("object %d arrived with hop %d and payload %q", i, hop, payload)
					}
					before := ""
					for step := range length {
						seen := o.GetAnnotations()[fmt.Sprintf("chain.dormouse.example/seen-%d", step)]
						if seen == "" || seen[:19] < before {
							t.Errorf("object %d was seen by operator %d at %q, by the one before at %q", i, step, seen, before)
							break
						}
						before = seen[:19] // To the second: the rest is written differently by different languages.
					}
				}
				user := harness.ServiceAccountUser("default", "chain")
				strangers := audit.Events(t, harness.Filter{Group: "chain.dormouse.example", Verb: "patch", Namespace: ns, Where: func(e harness.Event) bool {
					return e.User.Username != user && e.UserAgent != "e2e"
				}})
				for _, e := range strangers {
					t.Errorf("%s asked: %v", e.User.Username, harness.RequestOf(e))
				}
			})
		})
	}
}
