// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"slices"
	"testing"

	"dormouse.dev/conformance/target"
)

const watchList = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"

func TestInitialEventsAreSortedAndEndWithABookmark(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		last := ""
		for _, name := range []string{"d", "a", "c", "b"} {
			last = p.create(name, map[string]string{"odd": map[bool]string{true: "yes", false: "no"}[name == "a" || name == "c"]}).ResourceVersion
		}
		last = p.touch("c", "1").ResourceVersion
		for _, row := range []struct {
			query string
			want  []string
		}{
			{watchList, []string{"ADDED a", "ADDED b", "ADDED c", "ADDED d"}},
			{watchList + "&resourceVersion=" + last, []string{"ADDED a", "ADDED b", "ADDED c", "ADDED d"}},
			{watchList + "&resourceVersion=0", []string{"ADDED a", "ADDED b", "ADDED c", "ADDED d"}},
			{watchList + "&labelSelector=odd%3Dyes", []string{"ADDED a", "ADDED c"}},
			{watchList + "&fieldSelector=metadata.name%3Db", []string{"ADDED b"}},
			{watchList + "&labelSelector=odd%3Dnever", []string{}},
		} {
			ctx := target.Within(t, soon, row.query)
			w := to.Watch(t, ctx, p.path(row.query))
			if row.query == watchList+"&resourceVersion=0" {
				// Zero allows any state that the cache has had; ours may not have seen it all yet. Whatever comes, it ends.
				seen := map[string]bool{}
				for {
					e := w.Take(t, 1)[0]
					if e.InitialEventsEnd() {
						break
					}
					seen[e.Object.GetName()] = true
				}
				for len(seen) < 4 {
					seen[w.Take(t, 1)[0].Object.GetName()] = true
				}
				w.Stop()
				continue
			}
			events := w.Take(t, len(row.want)+1)
			equal(t, row.query, target.Names(events[:len(row.want)]), row.want)
			end := events[len(row.want)]
			if !end.InitialEventsEnd() || end.Object.GetKind() != "ConfigMap" {
				t.Errorf("%s: the initial events end with %s %s", row.query, end.Type, end.Raw)
			}
			if end.Revision() < number(t, last) {
				t.Errorf("%s: the initial events end at %d, older than the last change %s", row.query, end.Revision(), last)
			}
			w.Stop()
		}
	})
}

func TestInitialEventsAreFollowedByChanges(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "changes after the initial events")
		p.create("a", nil)
		w := to.Watch(t, ctx, p.path(watchList))
		events := w.Take(t, 2)
		p.touch("a", "1")
		p.create("b", nil)
		p.delete("a")
		events = append(events, w.Take(t, 3)...)
		equal(t, "events", target.Names(events), []string{"ADDED a", "BOOKMARK ", "MODIFIED a", "ADDED b", "DELETED a"})
		revisions := []uint64{}
		for _, e := range events[1:] {
			revisions = append(revisions, e.Revision())
		}
		if !slices.IsSorted(revisions) {
			t.Errorf("revisions go back: %v", revisions)
		}
	})
}

func TestWithoutBookmarksInitialEventsHaveNoEndMark(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "initial events")
		p.create("a", nil)
		w := to.Watch(t, ctx, p.path("watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"))
		events := w.Take(t, 1)
		p.touch("a", "1")
		equal(t, "events", target.Names(append(events, w.Take(t, 1)...)), []string{"ADDED a", "MODIFIED a"})
	})
}

func TestSendInitialEventsFalseWithoutRevisionBeginsNow(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "events from now on")
		p.create("a", nil)
		w := to.Watch(t, ctx, p.path("watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"))
		p.create("b", nil)
		equal(t, "events", target.Names(w.Take(t, 1)), []string{"ADDED b"})
	})
}
