// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
)

func TestWatchersOfDifferentSelectorsSeeTheirObjectsAlone(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events of four selectors")
		open := func(selector string) *target.Watch {
			return to.Watch(t, ctx, p.path("watch=true&resourceVersion=0&labelSelector="+url.QueryEscape(selector)))
		}
		a, b, either, all := open("who=a"), open("who=b"), open("who in (a, b)"), open("")
		neither := open("who,who notin (a, b)")
		p.create("one", map[string]string{"who": "a"})
		p.touch("one", "1")
		p.create("two", map[string]string{"who": "b"})
		p.touch("one", "2")
		p.delete("one")
		p.delete("two")
		p.create("three", map[string]string{"who": "c"})
		ofOne := []string{"ADDED one", "MODIFIED one", "MODIFIED one", "DELETED one"}
		both := []string{"ADDED one", "MODIFIED one", "ADDED two", "MODIFIED one", "DELETED one", "DELETED two"}
		equal(t, "who=a", target.Names(a.Take(t, 4)), ofOne)
		equal(t, "who=b", target.Names(b.Take(t, 2)), []string{"ADDED two", "DELETED two"})
		equal(t, "either", target.Names(either.Take(t, 6)), both)
		equal(t, "all", target.Names(all.Take(t, 7)), append(both, "ADDED three"))
		equal(t, "neither", target.Names(neither.Take(t, 1)), []string{"ADDED three"})
	})
}

func TestAWatchFromAHeldRevisionBeginsBehindIt(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events after a held revision")
		p.create("object", nil)
		first := p.touch("object", "1")
		second := p.touch("object", "2")
		p.delete("object")
		events := to.Watch(t, ctx, p.path("watch=true&resourceVersion="+first.ResourceVersion)).Take(t, 2)
		equal(t, "events", target.Names(events), []string{"MODIFIED object", "DELETED object"})
		if got := events[0].Object.GetResourceVersion(); got != second.ResourceVersion {
			t.Errorf("the first event has revision %s, want that of the second change, %s", got, second.ResourceVersion)
		}
		if value := data(events[1]); value != "2" {
			t.Errorf("DELETED carries value %q, want the last state's, 2", value)
		}
		if events[1].Revision() <= events[0].Revision() {
			t.Errorf("DELETED has revision %d, not above the last change's %d", events[1].Revision(), events[0].Revision())
		}
	})
}

func data(e target.Event) string {
	object := e.Object.Object
	if values, ok := object["data"].(map[string]any); ok {
		return fmt.Sprint(values["value"])
	}
	return ""
}

func TestAWatchContinuesWhereTheLastOneEnded(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events of two watches")
		list := to.Get(t, ctx, p.path("")).Object(t)
		at := list["metadata"].(map[string]any)["resourceVersion"].(string)
		w := to.Watch(t, ctx, p.path("watch=true&resourceVersion="+at))
		p.create("a", nil)
		p.create("b", nil)
		seen := w.Take(t, 2)
		w.Stop()
		p.touch("a", "1")
		p.delete("b")
		p.create("c", nil)
		seen = append(seen, to.Watch(t, ctx, p.path("watch=true&resourceVersion="+seen[1].Object.GetResourceVersion())).Take(t, 3)...)
		equal(t, "events", target.Names(seen), []string{"ADDED a", "ADDED b", "MODIFIED a", "DELETED b", "ADDED c"})
	})
}

func TestAListThenAWatchFromItsRevisionMissesNothing(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, 2*soon, "fifty relists")
		for i := range 50 {
			for _, query := range []string{"", "resourceVersion=0"} {
				list := to.Get(t, ctx, p.path(query)).Object(t)
				items, _ := list["items"].([]any)
				at := list["metadata"].(map[string]any)["resourceVersion"].(string)
				known := map[string]bool{}
				for _, item := range items {
					known[item.(map[string]any)["metadata"].(map[string]any)["name"].(string)] = true
				}
				w := to.Watch(t, ctx, p.path("watch=true&resourceVersion="+at))
				name := fmt.Sprintf("object-%d%s", i, map[bool]string{true: "-zero"}[query != ""])
				p.create(name, nil)
				for !known[name] {
					e := w.Take(t, 1)[0]
					if e.Type != "ADDED" || known[e.Object.GetName()] {
						t.Fatalf("behind revision %s comes %v, which the list had", at, e)
					}
					known[e.Object.GetName()] = true
				}
				w.Stop()
				if count := 2*i + 1 + len(query)/len("resourceVersion=0"); len(known) != count {
					t.Fatalf("list and watch of %q have %d objects, want %d", query, len(known), count)
				}
			}
		}
	})
}

func TestALabelThatChangesIsAddedAndDeleted(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "an object that enters and leaves a selection")
		w := to.Watch(t, ctx, p.path("watch=true&resourceVersion=0&labelSelector=in%3Dyes"))
		p.create("object", map[string]string{"in": "no"})
		entered := p.label("object", "in", "yes")
		p.touch("object", "inside")
		left := p.label("object", "in", "no")
		p.touch("object", "outside")
		back := p.label("object", "in", "yes")
		p.delete("object")
		events := w.Take(t, 5)
		equal(t, "events", target.Names(events), []string{"ADDED object", "MODIFIED object", "DELETED object", "ADDED object", "DELETED object"})
		for i, want := range map[int]string{0: entered.ResourceVersion, 2: left.ResourceVersion, 3: back.ResourceVersion} {
			if got := events[i].Object.GetResourceVersion(); got != want {
				t.Errorf("event %d has revision %s, want %s", i, got, want)
			}
		}
		// What left the selection is shown as it was while inside, with the revision of the change that took it out.
		if events[2].Object.GetLabels()["in"] != "yes" || data(events[2]) != "inside" {
			t.Errorf("DELETED shows %s, not the last state inside the selection", events[2].Raw)
		}
		if data(events[3]) != "outside" {
			t.Errorf("ADDED shows %s, not the state with which it entered", events[3].Raw)
		}
	})
}

func TestASelectedWatchFromAHeldRevisionSeesEntriesAndExits(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "entries and exits that are history")
		start := p.create("object", map[string]string{"in": "yes"})
		p.label("object", "in", "no")
		p.touch("object", "outside")
		p.label("object", "in", "yes")
		p.delete("object")
		events := to.Watch(t, ctx, p.path("watch=true&labelSelector=in%3Dyes&resourceVersion="+start.ResourceVersion)).Take(t, 3)
		equal(t, "events", target.Names(events), []string{"DELETED object", "ADDED object", "DELETED object"})
	})
}

func TestAWatchOfOneNameSeesThatObjectAlone(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events of one name")
		w := to.Watch(t, ctx, p.path("watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dmine"))
		p.create("other", nil)
		p.create("mine", nil)
		p.touch("other", "1")
		p.delete("mine")
		p.create("mine", nil)
		events := w.Take(t, 3)
		equal(t, "events", target.Names(events), []string{"ADDED mine", "DELETED mine", "ADDED mine"})
		if events[0].Object.GetUID() == events[2].Object.GetUID() {
			t.Error("the new object of the same name has the old one's uid")
		}
	})
}

func TestAWatchWithoutARevisionBeginsWithWhatThereIs(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		p.create("a", nil)
		p.create("b", nil)
		p.touch("a", "1")
		for _, query := range []string{"watch=true", "watch=1&resourceVersion=0"} {
			ctx := target.Within(t, soon, query)
			events := to.Watch(t, ctx, p.path(query)).Take(t, 2)
			equal(t, query, target.Names(events), []string{"ADDED a", "ADDED b"})
			if data(events[0]) != "1" {
				t.Errorf("%s: a is shown as %s, not as it is", query, events[0].Raw)
			}
		}
	})
}

func TestATooOldRevisionIsExpired(t *testing.T) {
	widgets(t, target.Shared(t).Cluster)
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		p.Cluster.Apply(t, p.ns, widget("object"))
		// Whoever watches this resource began when the definition was made, long after revision 1.
		for _, query := range []string{"watch=true&resourceVersion=1", "watch=true&resourceVersion=1&labelSelector=a%3Db", "watch=true&resourceVersion=2&allowWatchBookmarks=true"} {
			w := to.Watch(t, target.Within(t, soon, "an ERROR event"), p.widgets(query))
			event := w.Take(t, 1)[0]
			if got := (target.Answer{Code: 410, Body: event.Raw}).Status(); event.Type != "ERROR" || got != "410 Expired" {
				t.Errorf("%s: got %s %s, want an ERROR with a Status of 410 Expired", query, event.Type, event.Raw)
			}
			if _, err := w.Next(); err != io.EOF {
				t.Errorf("%s: after the ERROR comes %v, want the end of the watch", query, err)
			}
		}
	})
}

func TestTimeoutSecondsEndsAWatchProperly(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "the end of a watch of 2 s")
		start := time.Now()
		w := to.Watch(t, ctx, p.path("watch=true&resourceVersion=0&timeoutSeconds=2"))
		p.create("object", nil)
		equal(t, "events", target.Names(w.Take(t, 1)), []string{"ADDED object"})
		if e, err := w.Next(); err != io.EOF {
			t.Errorf("got %v, %v; want a proper end", e, err)
		}
		if lived := time.Since(start); lived < 1900*time.Millisecond {
			t.Errorf("the watch ended after %v", lived)
		}
	})
}

func TestBookmarksTellTheTruthBeforeTheEnd(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "a bookmark before the end")
		w := to.Watch(t, ctx, p.path("watch=true&resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=5"))
		p.create("object", nil)
		objects, bookmarked, seen := []string{}, uint64(0), uint64(0)
		for {
			e, err := w.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Type != "BOOKMARK" {
				objects = append(objects, e.String())
				if e.Revision() <= bookmarked {
					t.Errorf("%v of revision %d comes after a bookmark that says %d", e, e.Revision(), bookmarked)
				}
				seen = e.Revision()
				continue
			}
			if e.Object.GetKind() != "ConfigMap" || e.Object.GetAPIVersion() != "v1" || e.Object.GetName() != "" {
				t.Errorf("a bookmark of ConfigMaps is %s", e.Raw)
			}
			if e.Revision() < seen || e.Revision() < bookmarked {
				t.Errorf("a bookmark says %d after %d", e.Revision(), max(seen, bookmarked))
			}
			bookmarked = e.Revision()
		}
		equal(t, "events", objects, []string{"ADDED object"})
		if bookmarked < seen || bookmarked == 0 {
			t.Fatalf("the last bookmark before the end says %d, the last event %d", bookmarked, seen)
		}
		// It can be resumed from.
		p.touch("object", "1")
		equal(t, "events from the bookmark", target.Names(to.Watch(t, ctx, p.path(fmt.Sprintf("watch=true&resourceVersion=%d", bookmarked))).Take(t, 1)), []string{"MODIFIED object"})
	})
}

func TestNoBookmarkComesUnasked(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		w := to.Watch(t, target.Within(t, soon, "the end of a watch"), p.path("watch=true&resourceVersion=0&timeoutSeconds=4"))
		if e, err := w.Next(); err != io.EOF {
			t.Errorf("got %v, %v; want nothing but the end", e, err)
		}
	})
}
