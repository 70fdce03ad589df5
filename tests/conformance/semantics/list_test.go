// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"dormouse.dev/conformance/target"
)

// The table of LIST: every resourceVersion, match, limit and selector with every other. Both targets are asked on the
// same unchanging data; the direct answer is what the other has to be, and the oracle here says what both have to be.
func TestListAnswersAsTheTableSays(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	held := ""
	for i := range 9 {
		cm := p.create(fmt.Sprintf("object-%d", i), map[string]string{"third": fmt.Sprint(i % 3)})
		if i == 5 {
			held = cm.ResourceVersion
		}
	}
	last := p.touch("object-0", "changed").ResourceVersion
	future := fmt.Sprint(number(t, last) + 1_000_000)
	ctx := target.Within(t, 8*soon, "the table of LIST")

	type row struct{ revision, match, limit, selector string }
	var rows []row
	for _, revision := range []string{"", "0", held, last} {
		for _, match := range []string{"", "NotOlderThan", "Exact"} {
			for _, limit := range []string{"", "2", "100"} {
				for _, selector := range []string{"", "labelSelector=third%3D1", "fieldSelector=metadata.name%3Dobject-4", "labelSelector=third%3Dnone"} {
					rows = append(rows, row{revision, match, limit, selector})
				}
			}
		}
	}
	for _, match := range []string{"", "NotOlderThan", "Exact"} { // Each waits three seconds.
		rows = append(rows, row{future, match, "", ""})
	}
	answers := map[string]target.Answer{} // The direct ones.
	pair.Each(t, func(t *testing.T, to *target.Target) {
		for _, r := range rows {
			var query []string
			for _, part := range [][2]string{{"resourceVersion", r.revision}, {"resourceVersionMatch", r.match}, {"limit", r.limit}} {
				if part[1] != "" {
					query = append(query, part[0]+"="+part[1])
				}
			}
			path := p.path(strings.Join(append(query, r.selector), "&"))
			a := to.Get(t, ctx, path)
			name := fmt.Sprintf("rv=%s match=%s limit=%s %s", label(r.revision, held, last, future), r.match, r.limit, r.selector)
			if want := oracleStatus(r.revision, r.match, future); want != "" && a.Status() != want {
				t.Errorf("%s: got %s, want %s", name, a.Status(), want)
				continue
			}
			if to.Name == target.Direct {
				answers[path] = a
			} else if direct, asked := answers[path]; asked {
				compareLists(t, name, direct, a, r.match == "Exact" && r.revision != "0")
			}
			if a.Code == 200 && r.revision != "0" { // Zero allows an old state.
				checkList(t, name, a, r.match, r.revision, last)
			}
		}
	})
}

func label(revision, held, last, future string) string {
	return map[string]string{"": "unset", "0": "0", held: "held", last: "last", future: "future"}[revision]
}

// oracleStatus is the answer's code by KEP-2340 and the API's reference; empty: any that both agree on.
func oracleStatus(revision, match, future string) string {
	switch {
	case match != "" && revision == "": // A match needs a revision.
		return "422 Invalid"
	case match == "Exact" && revision == "0":
		return "422 Invalid"
	case revision == future:
		return ""
	}
	return "200"
}

type list struct {
	Kind, APIVersion string
	Metadata         struct {
		ResourceVersion, Continue string
		RemainingItemCount        *int
	}
	Items []map[string]any
}

func parseList(t *testing.T, a target.Answer) (l list) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &l); err != nil {
		t.Fatalf("no list: %v: %.300s", err, a.Body)
	}
	return l
}

func compareLists(t *testing.T, name string, direct, other target.Answer, exactly bool) {
	t.Helper()
	if direct.Status() != other.Status() {
		t.Errorf("%s: directly %s, through Dormouse %s", name, direct.Status(), other.Status())
		return
	}
	if direct.Code != 200 {
		var a, b map[string]any
		if json.Unmarshal(direct.Body, &a) != nil || json.Unmarshal(other.Body, &b) != nil || !reflect.DeepEqual(shape(a["details"]), shape(b["details"])) {
			t.Errorf("%s: directly %s\nthrough Dormouse %s", name, direct.Body, other.Body)
		}
		return
	}
	a, b := parseList(t, direct), parseList(t, other)
	if a.Kind != b.Kind || a.APIVersion != b.APIVersion {
		t.Errorf("%s: directly %s %s, through Dormouse %s %s", name, a.APIVersion, a.Kind, b.APIVersion, b.Kind)
	}
	if !reflect.DeepEqual(a.Items, b.Items) {
		t.Errorf("%s: the items differ: directly %v, through Dormouse %v", name, itemNames(a), itemNames(b))
	}
	if (a.Metadata.Continue == "") != (b.Metadata.Continue == "") || !reflect.DeepEqual(a.Metadata.RemainingItemCount, b.Metadata.RemainingItemCount) {
		t.Errorf("%s: directly continue=%q remaining=%v, through Dormouse continue=%q remaining=%v", name,
			a.Metadata.Continue, show(a.Metadata.RemainingItemCount), b.Metadata.Continue, show(b.Metadata.RemainingItemCount))
	}
	if exactly && a.Metadata.ResourceVersion != b.Metadata.ResourceVersion {
		t.Errorf("%s: directly at %s, through Dormouse at %s", name, a.Metadata.ResourceVersion, b.Metadata.ResourceVersion)
	}
}

// shape leaves out what is said in words.
func shape(details any) any {
	m, ok := details.(map[string]any)
	if !ok {
		return details
	}
	causes, _ := m["causes"].([]any)
	for _, cause := range causes {
		delete(cause.(map[string]any), "message")
	}
	return m
}

func show(n *int) string {
	if n == nil {
		return "none"
	}
	return fmt.Sprint(*n)
}

func itemNames(l list) []string {
	names := []string{}
	for _, item := range l.Items {
		metadata := item["metadata"].(map[string]any)
		names = append(names, fmt.Sprintf("%v@%v", metadata["name"], metadata["resourceVersion"]))
	}
	return names
}

// checkList holds an answer against what its revision promises.
func checkList(t *testing.T, name string, a target.Answer, match, revision, last string) {
	t.Helper()
	l := parseList(t, a)
	if l.Kind != "ConfigMapList" || l.APIVersion != "v1" {
		t.Errorf("%s: it is a %s %s", name, l.APIVersion, l.Kind)
	}
	at := number(t, l.Metadata.ResourceVersion)
	switch {
	case match == "Exact" && l.Metadata.ResourceVersion != revision:
		t.Errorf("%s: it is of revision %d", name, at)
	case match != "Exact" && revision == "" && at < number(t, last):
		t.Errorf("%s: it is of revision %d, older than a change before, %s", name, at, last)
	case match == "NotOlderThan" && at < number(t, revision):
		t.Errorf("%s: it is of revision %d, older than asked", name, at)
	}
	for _, item := range l.Items {
		metadata := item["metadata"].(map[string]any)
		if number(t, metadata["resourceVersion"].(string)) > at {
			t.Errorf("%s: %v has revision %v, above the list's %d", name, metadata["name"], metadata["resourceVersion"], at)
		}
		if item["kind"] != nil {
			t.Errorf("%s: an item of a typed list names its kind, %v", name, item["kind"])
		}
	}
}

// Pages of a list are of one revision, whatever changes between them.
func TestPagesAreOfOneRevision(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		for _, first := range []string{"limit=3", "limit=3&labelSelector=all", "limit=3&resourceVersion=HELD&resourceVersionMatch=Exact"} {
			p := newPlace(t, target.Shared(t))
			ctx := target.Within(t, soon, "pages")
			held := ""
			for i := range 8 {
				held = p.create(fmt.Sprintf("object-%d", i), map[string]string{"all": ""}).ResourceVersion
			}
			first = strings.ReplaceAll(first, "HELD", held)
			names, revision := []string{}, ""
			for query, page := first, 0; query != ""; page++ {
				l := parseList(t, to.Get(t, ctx, p.path(query)))
				if revision == "" {
					revision = l.Metadata.ResourceVersion
				} else if revision != l.Metadata.ResourceVersion {
					t.Errorf("%s: page %d is of revision %s, the first of %s", first, page, l.Metadata.ResourceVersion, revision)
				}
				names = append(names, itemNames(l)...)
				query = ""
				if l.Metadata.Continue != "" {
					query = "limit=3&continue=" + l.Metadata.Continue
					if strings.Contains(first, "labelSelector") {
						query += "&labelSelector=all"
					}
				}
				p.create(fmt.Sprintf("object-1-%d", page), map[string]string{"all": ""})
				if page == 0 {
					p.delete("object-7")
				}
			}
			if len(names) != 8 {
				t.Errorf("%s: the pages have %v, want the eight objects that were there at first", first, names)
			}
		}
	})
}

func TestBadParametersAreRefusedAlike(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	p.create("object", nil)
	directly := map[string]string{}
	pair.Each(t, func(t *testing.T, to *target.Target) {
		for _, row := range []struct{ query, want string }{
			{"resourceVersion=abc", "400 BadRequest"},
			{"resourceVersion=-1", "400 BadRequest"},
			{"resourceVersion=1&resourceVersionMatch=Never", "422 Invalid"},
			{"limit=-1", ""},
			{"limit=abc", "400 BadRequest"},
			{"continue=nonsense", "400 BadRequest"},
			{"continue=nonsense&resourceVersion=5", ""},
			{"labelSelector=%3D%3D%3D", "400 BadRequest"},
			{"labelSelector=a+in+%28", "400 BadRequest"},
			{"fieldSelector=spec.color%3Dred", "400 BadRequest"},
			{"fieldSelector=metadata.name", "400 BadRequest"},
			{"sendInitialEvents=true", "422 Invalid"},
			{"watch=true&resourceVersion=abc", ""},
			{"watch=true&labelSelector=%3D%3D%3D", "400 BadRequest"},
			{"watch=true&fieldSelector=spec.color%3Dred", "400 BadRequest"},
			{"watch=true&sendInitialEvents=true", "422 Invalid"},
			{"watch=true&resourceVersionMatch=NotOlderThan", "422 Invalid"},
			{"watch=true&sendInitialEvents=true&resourceVersionMatch=Exact", "422 Invalid"},
			{"watch=true&sendInitialEvents=maybe&resourceVersionMatch=NotOlderThan&timeoutSeconds=1", ""},
			{"watch=true&limit=1&timeoutSeconds=1", ""},
			{"watch=maybe&timeoutSeconds=1", ""},
			{"watch=false", "200"},
			{"watch=0&watch=true&timeoutSeconds=1", ""},
			{"timeoutSeconds=abc", ""},
			{"pretty=maybe", ""},
			{"unknownParameter=1", "200"},
		} {
			ctx := target.Within(t, soon, row.query)
			got := to.Get(t, ctx, p.path(row.query)).Status()
			if row.want != "" && got != row.want {
				t.Errorf("%s: got %s, want %s", row.query, got, row.want)
			}
			if to.Name == target.Direct {
				directly[row.query] = got
			} else if want, asked := directly[row.query]; asked && got != want {
				t.Errorf("%s: through Dormouse %s, directly %s", row.query, got, want)
			}
		}
	})
}
