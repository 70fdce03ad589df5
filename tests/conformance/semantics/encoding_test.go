// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"dormouse.dev/conformance/target"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"
)

// What clients accept: client-go's, kubectl's, kube-rs's, curl's and odd ones.
var accepts = []string{
	"application/json",
	"application/json, */*",
	"*/*",
	"",
	"application/vnd.kubernetes.protobuf",
	"application/vnd.kubernetes.protobuf,application/json",
	"application/vnd.kubernetes.protobuf;q=0.1, application/json",
	"application/json;as=Table;v=v1;g=meta.k8s.io",
	"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
	"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
	"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
	"application/yaml",
	"application/cbor",
	"application/cbor, application/json",
	"text/html",
	"application/json;stream=watch",
	"application/vnd.kubernetes.protobuf;stream=watch",
	"application/json;as=Nothing;v=v1;g=meta.k8s.io",
}

// decoded is an answer's body as something comparable, whatever it was encoded in.
func decoded(t *testing.T, contentType string, body []byte) any {
	t.Helper()
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "application/json":
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatalf("%s: %v: %.200q", contentType, err, body)
		}
		return v
	case "application/yaml":
		var v any
		if err := yaml.Unmarshal(body, &v); err != nil {
			t.Fatalf("%s: %v: %.200q", contentType, err, body)
		}
		return v
	case "application/vnd.kubernetes.protobuf":
		object, kind, err := protobuf.NewSerializer(codec, codec).Decode(body, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v: %.200q", contentType, err, body)
		}
		return map[string]any{"kind": kind.String(), "object": object}
	}
	return string(body)
}

// timeless makes two answers of different moments comparable: ages in a Table's cells go, as does the list's revision.
func timeless(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	if object, ok := m["object"].(metav1.ListInterface); ok {
		object.SetResourceVersion("")
	}
	if metadata, ok := m["metadata"].(map[string]any); ok && (strings.HasSuffix(fmt.Sprint(m["kind"]), "List") || m["kind"] == "Table") {
		delete(metadata, "resourceVersion")
	}
	columns, _ := m["columnDefinitions"].([]any)
	ageless(m, columns)
	return m
}

// ageless makes ages in a table's rows alike; of a watch's tables, only the first names the columns.
func ageless(table map[string]any, columns []any) {
	rows, _ := table["rows"].([]any)
	for i, column := range columns {
		if column.(map[string]any)["name"] == "Age" {
			for _, row := range rows {
				row.(map[string]any)["cells"].([]any)[i] = "age"
			}
		}
	}
}

// The encodings' objects: of built-in types with one of metadata only in use, and a custom resource, which has no protobuf.
func encodingPaths(t *testing.T, p place) []string {
	t.Helper()
	widgets(t, p.Cluster)
	p.Cluster.Apply(t, p.ns, widget("a")+"\n---\n"+colored("b", "blue"))
	p.create("object", map[string]string{"a": "b"})
	p.touch("object", "snowman ☃ and <html>&")
	p.Cluster.Apply(t, p.ns, `{apiVersion: v1, kind: Pod, metadata: {name: pod, annotations: {quote: "\"\\"}}, spec: {containers: [{name: c, image: none}]}}`)
	p.Cluster.Apply(t, p.ns, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: deployment}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: none}]}}}}`)
	core, apps := "/api/v1/namespaces/"+p.ns, "/apis/apps/v1/namespaces/"+p.ns
	return []string{
		core + "/configmaps?x=", core + "/configmaps/object?x=", core + "/pods?x=", core + "/pods/pod?x=", "/api/v1/namespaces/" + p.ns + "?x=",
		apps + "/deployments?x=", apps + "/deployments/deployment?x=", core + "/secrets?x=",
		p.widgets("x="), strings.Replace(p.widgets("x="), "widgets?", "widgets/b?", 1),
		core + "/configmaps/none?x=", core + "/nonsense?x=",
	}
}

// warm has both targets' caches hold what the claims read, if they cache at all: a watch of each.
func warm(t *testing.T, p place) {
	t.Helper()
	for _, path := range []string{
		p.path(watchList), "/api/v1/namespaces/" + p.ns + "/pods?" + watchList,
		"/apis/apps/v1/namespaces/" + p.ns + "/deployments?" + watchList, p.widgets(watchList),
	} {
		for _, accept := range []string{"application/json", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"} {
			w := p.Dormouse.Watch(t, target.Within(t, 8*soon, "a warm cache"), path, "Accept", accept)
			for !w.Take(t, 1)[0].InitialEventsEnd() {
			}
		}
	}
}

func TestEveryEncodingOfGetAndListIsTheSame(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	paths := encodingPaths(t, p)
	for _, cache := range []string{"cold", "warm"} {
		t.Run(cache, func(t *testing.T) {
			if cache == "warm" {
				warm(t, p)
			}
			direct := map[string]target.Answer{}
			pair.Each(t, func(t *testing.T, to *target.Target) {
				for _, path := range paths {
					for _, query := range []string{"", "&resourceVersion=0", "&includeObject=None", "&includeObject=Object", "&pretty=true"} {
						for _, accept := range accepts {
							if strings.Contains(query, "includeObject") && !strings.Contains(accept, "Table") {
								continue
							}
							a := to.Get(t, target.Within(t, soon, path), path+query, "Accept", accept)
							key := path + query + "  Accept: " + accept
							if to.Name == target.Direct {
								direct[key] = a
								continue
							}
							d, asked := direct[key]
							if !asked {
								continue
							}
							if d.Code != a.Code || mediaType(d) != mediaType(a) {
								t.Errorf("%s: directly %d %s, through Dormouse %d %s", key, d.Code, d.ContentType, a.Code, a.ContentType)
								continue
							}
							if x, y := timeless(decoded(t, d.ContentType, d.Body)), timeless(decoded(t, a.ContentType, a.Body)); !reflect.DeepEqual(x, y) {
								t.Errorf("%s:%s", key, differing(x, y))
							}
						}
					}
				}
			})
		})
	}
}

// mediaType is the content type with its parameters in order.
func mediaType(a target.Answer) string {
	kind, parameters, err := mime.ParseMediaType(a.ContentType)
	if err != nil {
		return a.ContentType
	}
	delete(parameters, "charset")
	return mime.FormatMediaType(kind, parameters)
}

// differing shows two values around where they begin to differ.
func differing(directly, through any) string {
	text := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprintf("%+v", v)
		}
		return string(text)
	}
	d, a := text(directly), text(through)
	at := 0
	for at < len(d) && at < len(a) && d[at] == a[at] {
		at++
	}
	around := func(s string) string { return s[max(0, at-300):min(len(s), at+300)] }
	return fmt.Sprintf("\ndirectly         …%s…\nthrough Dormouse …%s…", around(d), around(a))
}

func TestEveryEncodingOfAWatchIsTheSame(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	encodingPaths(t, p)
	since := p.touch("object", "since").ResourceVersion
	p.Cluster.Apply(t, p.ns, colored("a", "green"))
	p.touch("object", "changed")
	p.label("object", "a", "c")
	p.delete("object")
	p.Cluster.Delete(t, widgetResource, p.ns, "a")
	direct := map[string][]any{}
	pair.Each(t, func(t *testing.T, to *target.Target) {
		for _, row := range []struct {
			path  string
			count int
		}{{p.path("watch=true&resourceVersion=" + since), 3}, {p.path("watch=true&labelSelector=a%3Db&resourceVersion=" + since), 2}, {p.widgets("watch=true&resourceVersion=" + since), 2}} {
			for _, accept := range accepts {
				key := row.path + "  Accept: " + accept
				events := watchDecoded(t, to, row.path, accept, row.count)
				if to.Name == target.Direct {
					direct[key] = events
				} else if d, asked := direct[key]; asked && !reflect.DeepEqual(d, events) {
					t.Errorf("%s:%s", key, differing(d, events))
				}
			}
		}
	})
}

// watchDecoded is a watch's content type and first events, decoded.
func watchDecoded(t *testing.T, to *target.Target, path, accept string, count int) []any {
	t.Helper()
	client, err := rest.HTTPClientFor(to.Config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(target.Within(t, soon, path+" "+accept), http.MethodGet, to.Config.Host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	kind, parameters, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	delete(parameters, "charset")
	all := []any{response.StatusCode, mime.FormatMediaType(kind, parameters)}
	if response.StatusCode != http.StatusOK {
		return all
	}
	if kind == "application/json" {
		decoder := json.NewDecoder(response.Body)
		var columns []any
		for range count {
			var event map[string]any
			if err := decoder.Decode(&event); err != nil {
				return append(all, err.Error())
			}
			if object, ok := event["object"].(map[string]any); ok {
				if named, ok := object["columnDefinitions"].([]any); ok {
					columns = named
				}
				ageless(object, columns)
				event["object"] = timeless(object)
			}
			all = append(all, event)
		}
		return all
	}
	for range count { // Protobuf: each frame has its length before it.
		var length [4]byte
		if _, err := io.ReadFull(response.Body, length[:]); err != nil {
			return append(all, err.Error()) // As the API server does for lists of metadata, which no watch has.
		}
		frame := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(response.Body, frame); err != nil {
			t.Errorf("%s: %s %s: %v", to.Name, path, accept, err)
			return all
		}
		var event metav1.WatchEvent
		if err := event.Unmarshal(frame); err != nil {
			t.Errorf("%s: %s %s: a frame is no event: %v", to.Name, path, accept, err)
			return all
		}
		all = append(all, map[string]any{"type": event.Type, "object": decoded(t, response.Header.Get("Content-Type"), event.Object.Raw)})
	}
	return all
}

// codec knows the types that are client-go's, and those of metadata alone.
var codec = func() *runtime.Scheme {
	all := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(all); err != nil {
			panic(err)
		}
	}
	metav1.AddToGroupVersion(all, metav1.Unversioned)
	return all
}()

// A client that takes gzip gets a large list in it, and it is the same list.
func TestALargeListIsTheSameInGzip(t *testing.T) {
	pair := target.Shared(t)
	p := newPlace(t, pair)
	for i := range 20 {
		p.touch(p.create(fmt.Sprintf("large-%02d", i), nil).Name, strings.Repeat("0123456789abcdef", 1<<10))
	}
	warm(t, p)
	var direct any
	pair.Each(t, func(t *testing.T, to *target.Target) {
		// Go's transport asks for gzip and undoes it, unless told otherwise.
		list := timeless(decoded(t, "application/json", to.Get(t, target.Within(t, soon, "a large list"), p.path("")).Body))
		if to.Name == target.Direct {
			direct = list
		} else if direct != nil && !reflect.DeepEqual(direct, list) {
			t.Error("the lists differ")
		}
	})
}
