// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

func TestDiscoveryIsTheSame(t *testing.T) {
	pair := target.Shared(t)
	widgets(t, pair.Cluster)
	pair.Each(t, func(t *testing.T, to *target.Target) {
		for _, path := range []string{"/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v2", "/apis/conformance.dormouse.dev", "/apis/conformance.dormouse.dev/v1", "/apis/none.example", "/nothing", "/", "/healthz", "/livez", "/readyz"} {
			for _, accept := range []string{"application/json", aggregated, "*/*"} {
				// What a definition adds to these documents comes a moment after the definition: asked again until both agree.
				awaitThat(t, fmt.Sprintf("%s Accept: %s is the same as directly", path, accept), func() bool {
					d, a := pair.Direct.Get(t, t.Context(), path, "Accept", accept), to.Get(t, t.Context(), path, "Accept", accept)
					var x, y any
					same := string(d.Body) == string(a.Body) || json.Unmarshal(d.Body, &x) == nil && json.Unmarshal(a.Body, &y) == nil && reflect.DeepEqual(x, y)
					return d.Code == a.Code && mediaType(d) == mediaType(a) && same
				})
			}
		}
	})
}

const gadgetDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: gadgets, singular: gadget, kind: Gadget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v2, served: V2, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// A resource that is defined, gets a version, loses it, and goes: each is seen by a client that never starts anew.
func TestADefinitionIsFollowedThroughItsLife(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		group := to.Name + ".conformance.dormouse.dev"
		define := func(second string) {
			p.Cluster.Apply(t, "", strings.NewReplacer("GROUP", group, "V2", second).Replace(gadgetDefinition))
		}
		path := func(version, query string) string {
			return "/apis/" + group + "/" + version + "/namespaces/" + p.ns + "/gadgets?" + query
		}
		if got := to.Get(t, target.Within(t, soon, "404"), path("v1", "")).Code; got != 404 {
			t.Fatalf("before the definition: %d", got)
		}
		define("false")
		awaitCode(t, to, path("v1", ""), 200)
		awaitCode(t, to, path("v2", ""), 404)
		awaitDiscovered(t, to, group, "v1", true)
		ctx := target.Within(t, 2*soon, "events of gadgets")
		w := watchSoon(t, ctx, to, path("v1", watchList))
		if e := w.Take(t, 1)[0]; !e.InitialEventsEnd() {
			t.Fatalf("the first event is %s %s", e.Type, e.Raw)
		}
		p.Cluster.Apply(t, p.ns, `{apiVersion: `+group+`/v1, kind: Gadget, metadata: {name: one}, spec: {a: 1}}`)
		equal(t, "events", target.Names(w.Take(t, 1)), []string{"ADDED one"})

		define("true")
		awaitCode(t, to, path("v2", ""), 200)
		awaitDiscovered(t, to, group, "v2", true)
		// The change of its definition may end the watch; a client begins again from what it has seen.
		second := watchSoon(t, ctx, to, path("v2", watchList))
		events := second.Take(t, 2)
		if events[0].Object.GetAPIVersion() != group+"/v2" || !events[1].InitialEventsEnd() {
			t.Errorf("as v2 it is shown as %s, then %v", events[0].Raw, events[1])
		}

		define("false")
		awaitCode(t, to, path("v2", ""), 404)
		awaitDiscovered(t, to, group, "v2", false)
		third := watchSoon(t, ctx, to, path("v1", watchList))
		third.Take(t, 2)

		p.Cluster.Delete(t, definitions, "", "gadgets."+group)
		gone := false
		for {
			e, err := third.Next()
			if err == io.EOF || e.Type == "ERROR" {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			gone = gone || e.String() == "DELETED one"
		}
		if !gone {
			t.Error("the watch ended without DELETED one")
		}
		p.Cluster.AwaitGone(t, definitions, "", "gadgets."+group, soon)
		awaitCode(t, to, path("v1", ""), 404)
		awaitDiscovered(t, to, group, "v1", false)

		// The same name again is another resource: nothing of the old one is in it.
		define("false")
		awaitCode(t, to, path("v1", ""), 200)
		for _, query := range []string{"", "resourceVersion=0"} {
			if l := parseList(t, to.Get(t, ctx, path("v1", query))); len(l.Items) != 0 {
				t.Errorf("defined again, %q lists %v", query, itemNames(l))
			}
		}
		p.Cluster.Delete(t, definitions, "", "gadgets."+group)
	})
}

// watchSoon opens a watch that may be answered 429 for a moment: so a server says that a resource's storage is not yet ready.
func watchSoon(t *testing.T, ctx context.Context, to *target.Target, path string) (w *target.Watch) {
	t.Helper()
	awaitThat(t, "a watch that is not told to come again", func() bool {
		w = to.Watch(t, ctx, path)
		return w.Code != http.StatusTooManyRequests
	})
	return w
}

// awaitCode asks until the answer's code is as wanted: an API server learns of definitions a moment later.
func awaitCode(t *testing.T, to *target.Target, path string, code int) {
	t.Helper()
	awaitThat(t, fmt.Sprintf("%d for %s", code, path), func() bool { return to.Get(t, t.Context(), path).Code == code })
}

func awaitDiscovered(t *testing.T, to *target.Target, group, version string, there bool) {
	t.Helper()
	awaitThat(t, fmt.Sprintf("%s/%s in discovery: %v", group, version, there), func() bool {
		return strings.Contains(string(to.Get(t, t.Context(), "/apis", "Accept", "application/json").Body), group+"/"+version) == there
	})
	awaitThat(t, fmt.Sprintf("%s/%s in aggregated discovery: %v", group, version, there), func() bool {
		return strings.Contains(string(to.Get(t, t.Context(), "/apis", "Accept", aggregated).Body), `"responseKind":{"group":"`+group+`","version":"`+version+`"`) == there
	})
}

// awaitThat asks again each 50 ms: nothing announces what it waits for.
func awaitThat(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(soon); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", soon, what)
		}
	}
}
