// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"io"
	"strings"
	"testing"

	"dormouse.dev/conformance/target"
)

const reader = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch], resourceNames: [named]}
- {apiGroups: [""], resources: [services], verbs: [get, list]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: NS}]
`

// What a user of few rights gets while another who may do everything watches the same through the same cache.
func TestEachUserGetsWhatTheAPIServerWouldGiveHim(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	p.Cluster.Apply(t, p.ns, strings.ReplaceAll(reader, "NS", p.ns))
	p.create("named", nil)
	p.create("other", nil)
	p.Cluster.Apply(t, p.ns, `{apiVersion: v1, kind: Secret, metadata: {name: secret}, stringData: {key: hidden}}`)
	p.Cluster.Apply(t, p.ns, `{apiVersion: v1, kind: Pod, metadata: {name: pod}, spec: {containers: [{name: c, image: none}]}}`)
	core := "/api/v1/namespaces/" + p.ns
	for _, path := range []string{core + "/configmaps?", core + "/secrets?", core + "/pods?", core + "/services?", "/api/v1/configmaps?", "/api/v1/secrets?", "/api/v1/pods?"} {
		w := p.Dormouse.Watch(t, target.Within(t, 8*soon, "the administrator's watch"), path+watchList)
		for !w.Take(t, 1)[0].InitialEventsEnd() {
		}
	}
	asReader := pair.As(t, pair.Token(t, p.ns, "reader"))
	directly := map[string]string{}
	asReader.Each(t, func(t *testing.T, to *target.Target) {
		for _, row := range []struct{ path, want string }{
			{core + "/configmaps/named", "200"},
			{core + "/configmaps/other", "403 Forbidden"},
			{core + "/configmaps/none", "403 Forbidden"},
			{core + "/configmaps", "403 Forbidden"},
			{core + "/configmaps?resourceVersion=0", "403 Forbidden"},
			{core + "/configmaps?fieldSelector=metadata.name%3Dnamed", "200"},
			{core + "/configmaps?fieldSelector=metadata.name%3Dother", "403 Forbidden"},
			{core + "/configmaps?fieldSelector=metadata.name!%3Dnamed", "403 Forbidden"},
			{core + "/configmaps?fieldSelector=metadata.name%3Dnamed&labelSelector=a%3Db", "200"},
			{core + "/configmaps?watch=true&timeoutSeconds=1", "403 Forbidden"},
			{core + "/configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dnamed", "200"},
			{core + "/configmaps?watch=true&timeoutSeconds=1&fieldSelector=metadata.name%3Dother", "403 Forbidden"},
			{"/api/v1/watch/namespaces/" + p.ns + "/configmaps?timeoutSeconds=1", "403 Forbidden"},
			{"/api/v1/watch/namespaces/" + p.ns + "/configmaps/named?timeoutSeconds=1", "200"},
			{core + "/secrets", "403 Forbidden"},
			{core + "/secrets?resourceVersion=0", "403 Forbidden"},
			{core + "/secrets/secret", "403 Forbidden"},
			{core + "/secrets/none", "403 Forbidden"},
			{core + "/secrets?" + watchList, "403 Forbidden"},
			{core + "/pods", "200"},
			{core + "/pods?resourceVersion=0", "200"},
			{core + "/pods/pod", "403 Forbidden"},
			{core + "/pods/pod?resourceVersion=0", "403 Forbidden"},
			{core + "/pods/pod/status", "403 Forbidden"},
			{core + "/pods/pod/log", "403 Forbidden"},
			{core + "/pods?watch=true&timeoutSeconds=1", "200"},
			{core + "/services", "200"},
			{core + "/services?watch=true&timeoutSeconds=1", "403 Forbidden"},
			{"/api/v1/pods", "403 Forbidden"},
			{"/api/v1/pods?resourceVersion=0", "403 Forbidden"},
			{"/api/v1/configmaps?fieldSelector=metadata.namespace%3D" + p.ns, "403 Forbidden"},
			{"/api/v1/namespaces/default/pods", "403 Forbidden"},
			{"/api/v1/namespaces/" + p.ns, "403 Forbidden"},
			{core + "/configmaps/named/", ""},
			{core + "//configmaps/other", ""},
			{core + "/pods/../secrets/secret", ""},
			{core + "/pods/%2e%2e/secrets/secret", ""},
			{core + "/secrets%2fsecret", ""},
			{"/API/v1/namespaces/" + p.ns + "/secrets", ""},
		} {
			got := to.Get(t, target.Within(t, soon, row.path), row.path, "Accept", "application/json").Status()
			if row.want != "" && got != row.want {
				t.Errorf("%s: got %s, want %s", row.path, got, row.want)
			}
			if strings.Contains(got, "hidden") {
				t.Errorf("%s: the secret is shown: %s", row.path, got)
			}
			if to.Name == target.Direct {
				directly[row.path] = got
			} else if want, asked := directly[row.path]; asked && got != want && (row.want != "" || strings.HasPrefix(got, "2")) {
				t.Errorf("%s: through Dormouse %s, directly %s", row.path, got, want)
			}
		}
	})
}

func TestNobodyIsRefused(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	p.create("object", nil)
	w := p.Dormouse.Watch(t, target.Within(t, 4*soon, "the administrator's watch"), p.path(watchList))
	w.Take(t, 2)
	for name, token := range map[string]string{"no token": "", "a false token": "abc", "a forged token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzeXN0ZW06YWRtaW4ifQ."} {
		t.Run(name, func(t *testing.T) {
			pair.As(t, token).Each(t, func(t *testing.T, to *target.Target) {
				for _, path := range []string{p.path(""), p.path("resourceVersion=0"), p.path("watch=true"), p.path(watchList), "/api", "/apis", "/openapi/v3"} {
					a := to.Get(t, target.Within(t, soon, path), path)
					if a.Code != 401 && a.Code != 403 {
						t.Errorf("%s: got %s", path, a.Status())
					}
				}
			})
		})
	}
}

// A user may be shown a selection and nothing else: entering and leaving it are all that he sees of the others.
func TestAWatchOfANameItMaySeeShowsNothingElse(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	p.Cluster.Apply(t, p.ns, strings.ReplaceAll(reader, "NS", p.ns))
	all := p.Dormouse.Watch(t, target.Within(t, 4*soon, "the administrator's watch"), p.path(watchList))
	all.Take(t, 1)
	pair.As(t, pair.Token(t, p.ns, "reader")).Each(t, func(t *testing.T, to *target.Target) {
		w := to.Watch(t, target.Within(t, soon, "events of one name"), p.path("watch=true&timeoutSeconds=3&resourceVersion=0&fieldSelector=metadata.name%3Dnamed"))
		p.create("other", nil)
		p.create("named", nil)
		p.touch("other", "1")
		p.delete("named")
		p.delete("other")
		var seen []target.Event
		for {
			e, err := w.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, e)
		}
		equal(t, "events", target.Names(seen), []string{"ADDED named", "DELETED named"})
	})
}
