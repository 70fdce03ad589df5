// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"dormouse.dev/conformance/target"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A watch from a revision that is not there yet shows nothing up to it.
func TestAWatchFromALaterRevisionShowsNothingUpToIt(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		for _, warm := range []bool{false, true} {
			p := newPlace(t, target.Shared(t))
			ctx := target.Within(t, soon, "changes after a later revision")
			if warm {
				to.Watch(t, ctx, p.path(watchList)).Take(t, 1)
			}
			later := number(t, p.create("object", nil).ResourceVersion) + 20
			w := to.Watch(t, ctx, p.path(fmt.Sprintf("watch=true&resourceVersion=%d", later)))
			var first string
			for i := 0; first == ""; i++ {
				if changed := p.touch("object", fmt.Sprint(i)).ResourceVersion; number(t, changed) > later {
					first = changed
				}
			}
			e := w.Take(t, 1)[0]
			if e.Type == "ERROR" { // As the reference allows: come again when it is there.
				if got := (target.Answer{Code: 504, Body: e.Raw}).Status(); got != "504 Timeout" {
					t.Errorf("got ERROR %s", e.Raw)
				}
				continue
			}
			if e.Object.GetResourceVersion() != first {
				t.Errorf("the first event after %d is of %s, want %s", later, e.Object.GetResourceVersion(), first)
			}
		}
	})
}

// Who does not read holds up nobody; when he reads on, he has missed nothing, or is told so.
func TestASlowWatcherHoldsUpNobody(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, 4*soon, "the last change")
		begin := p.create("object", nil).ResourceVersion
		var slow []*target.Watch
		for range 10 {
			slow = append(slow, to.Watch(t, ctx, p.path("watch=true&resourceVersion="+begin)))
		}
		quick := to.Watch(t, ctx, p.path("watch=true&resourceVersion="+begin))
		var revisions []string
		for i := range 300 { // Ten megabytes for each.
			revisions = append(revisions, p.touch("object", fmt.Sprint(i)+strings.Repeat("x", 32<<10)).ResourceVersion)
			if e := quick.Take(t, 1)[0]; e.Object.GetResourceVersion() != revisions[i] {
				t.Fatalf("the quick watcher got %v at %s, want %s", e, e.Object.GetResourceVersion(), revisions[i])
			}
		}
		for _, w := range slow {
			for i := 0; i < len(revisions); i++ {
				e, err := w.Next()
				if err == io.EOF || err == nil && e.Type == "ERROR" {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if e.Object.GetResourceVersion() != revisions[i] {
					t.Fatalf("a slow watcher got %s as its event %d, want %s", e.Object.GetResourceVersion(), i, revisions[i])
				}
			}
			w.Stop()
		}
	})
}

func TestFieldSelectorsBeyondMetadata(t *testing.T) {
	widgets(t, target.Shared(t).Cluster)
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events of fields")
		p.Cluster.Apply(t, p.ns, colored("a", "red")+"\n---\n"+colored("b", "blue"))
		all := to.Watch(t, ctx, p.widgets(watchList))
		all.Take(t, 3)
		red := to.Watch(t, ctx, p.widgets(watchList+"&fieldSelector=spec.color%3Dred"))
		equal(t, "initial events", target.Names(red.Take(t, 2)), []string{"ADDED a", "BOOKMARK "})
		p.Cluster.Apply(t, p.ns, colored("b", "red"))
		p.Cluster.Apply(t, p.ns, colored("a", "blue"))
		equal(t, "events", target.Names(red.Take(t, 2)), []string{"ADDED b", "DELETED a"})
		if l := parseList(t, to.Get(t, ctx, p.widgets("fieldSelector=spec.color%3Dred"))); len(l.Items) != 1 {
			t.Errorf("a LIST of the red ones has %v", itemNames(l))
		}
		pods := "/api/v1/namespaces/" + p.ns + "/pods?"
		p.Cluster.Apply(t, p.ns, `{apiVersion: v1, kind: Pod, metadata: {name: here}, spec: {nodeName: node-1, containers: [{name: c, image: none}]}}`)
		p.Cluster.Apply(t, p.ns, `{apiVersion: v1, kind: Pod, metadata: {name: nowhere}, spec: {containers: [{name: c, image: none}]}}`)
		to.Watch(t, ctx, pods+watchList).Take(t, 3)
		for selector, want := range map[string]string{"spec.nodeName%3Dnode-1": "here", "spec.nodeName%3D": "nowhere", "status.phase%3DPending,spec.nodeName%3Dnode-1": "here", "metadata.name!%3Dhere": "nowhere"} {
			for _, revision := range []string{"", "&resourceVersion=0"} {
				l := parseList(t, to.Get(t, ctx, pods+"fieldSelector="+selector+revision))
				if len(l.Items) != 1 || !strings.HasPrefix(itemNames(l)[0], want+"@") {
					t.Errorf("%s%s lists %v, want %s", selector, revision, itemNames(l), want)
				}
			}
			if e := to.Watch(t, ctx, pods+"watch=true&fieldSelector="+selector).Take(t, 1)[0]; e.String() != "ADDED "+want {
				t.Errorf("a watch of %s shows %v, want ADDED %s", selector, e, want)
			}
		}
	})
}

// One object in two versions: a change by one is seen in the other's watch and lists.
func TestVersionsOfOneResourceAgree(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "both versions")
		path := func(version, query string) string {
			return "/apis/autoscaling/" + version + "/namespaces/" + p.ns + "/horizontalpodautoscalers?" + query
		}
		watches := map[string]*target.Watch{}
		for _, version := range []string{"v1", "v2"} {
			watches[version] = to.Watch(t, ctx, path(version, watchList))
			watches[version].Take(t, 1)
		}
		for i := range 3 {
			p.Cluster.Apply(t, p.ns, fmt.Sprintf(`{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: %d, scaleTargetRef: {kind: Deployment, name: x, apiVersion: apps/v1}}}`, 2+i))
			for version, w := range watches {
				e := w.Take(t, 1)[0]
				if got := e.Object.GetAPIVersion(); got != "autoscaling/"+version {
					t.Errorf("a watch of %s shows an object of %s", version, got)
				}
				l := parseList(t, to.Get(t, ctx, path(version, "resourceVersion="+e.Object.GetResourceVersion())))
				if l.APIVersion != "autoscaling/"+version || len(l.Items) != 1 || fmt.Sprint(l.Items[0]["spec"].(map[string]any)["maxReplicas"]) != fmt.Sprint(2+i) {
					t.Errorf("%s, change %d: the list is of %s and has %v", version, i, l.APIVersion, l.Items)
				}
			}
		}
	})
}

// A watch of all namespaces and one of a single namespace, side by side, and lists by metadata.namespace.
func TestAllNamespacesAndOne(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p, q := newPlace(t, target.Shared(t)), newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events of two namespaces")
		mark := "mark-" + to.Name
		all := to.Watch(t, ctx, "/api/v1/configmaps?"+watchList+"&labelSelector="+mark)
		if e := all.Take(t, 1)[0]; !e.InitialEventsEnd() {
			t.Fatalf("got %v", e)
		}
		one := to.Watch(t, ctx, p.path(watchList))
		one.Take(t, 1)
		p.create("a", map[string]string{mark: ""})
		q.create("a", map[string]string{mark: ""})
		p.touch("a", "1")
		q.delete("a")
		var seen []string
		for _, e := range all.Take(t, 4) {
			seen = append(seen, e.Type+" "+map[string]string{p.ns: "p", q.ns: "q"}[e.Object.GetNamespace()])
		}
		equal(t, "all", seen, []string{"ADDED p", "ADDED q", "MODIFIED p", "DELETED q"})
		equal(t, "one", target.Names(one.Take(t, 2)), []string{"ADDED a", "MODIFIED a"})
		for _, revision := range []string{"", "&resourceVersion=" + fmt.Sprint(number(t, p.touch("a", "2").ResourceVersion))} {
			if l := parseList(t, to.Get(t, ctx, "/api/v1/configmaps?labelSelector="+mark+"&fieldSelector=metadata.namespace%3D"+p.ns+revision)); len(l.Items) != 1 {
				t.Errorf("a LIST of namespace %s among all has %v", p.ns, itemNames(l))
			}
		}
	})
}

// Large and odd objects come through as they are, by any verb.
func TestLargeAndOddObjectsAreWhole(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		client := to.Client.CoreV1().ConfigMaps(p.ns)
		w := to.Watch(t, target.Within(t, soon, "events of large objects"), p.path(watchList))
		w.Take(t, 1)
		data := map[string]string{"large": strings.Repeat("0123456789", 90<<10), "odd": "\u0000\u2028\ufffd\U0001F9A6 \"\\/</script>{}", "empty": ""}
		created, err := client.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a.b-c.1", Annotations: map[string]string{"": ""}}}, metav1.CreateOptions{})
		if err == nil {
			t.Errorf("an annotation without a name is accepted: %v", created.Annotations)
		}
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a.b-c.1", Labels: map[string]string{"example.com/a_b": "x.y"}}, Data: data, BinaryData: map[string][]byte{"bytes": {0, 255, 128}}}
		if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Patch(t.Context(), "a.b-c.1", types.MergePatchType, []byte(`{"data":{"more":"é"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		data["more"] = "é"
		events := w.Take(t, 2)
		equal(t, "events", target.Names(events), []string{"ADDED a.b-c.1", "MODIFIED a.b-c.1"})
		list, err := client.List(t.Context(), metav1.ListOptions{LabelSelector: "example.com/a_b=x.y"})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("LIST has %d items (%v)", len(list.Items), err)
		}
		got, err := client.Get(t.Context(), "a.b-c.1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		shown, _ := events[1].Object.Object["data"].(map[string]any)
		for key, want := range data {
			if got.Data[key] != want || list.Items[0].Data[key] != want || shown[key] != want {
				t.Errorf("data %q is %.60q by GET, %.60q by LIST, %.60q by watch; want %.60q", key, got.Data[key], list.Items[0].Data[key], shown[key], want)
			}
		}
	})
}
