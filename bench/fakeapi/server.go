// SPDX-License-Identifier: Apache-2.0

// Package fakeapi is an API server for measuring: it serves the kinds of examples/chain out of memory, over HTTP/2 and TLS
// as a real one, and notes when an event went out and when the request that answers it came in. A real one takes
// milliseconds for a write, and hides what takes microseconds.
package fakeapi

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const group = "chain.dormouse.example"

// Answer is a write that came in.
type Answer struct {
	Kind   string // "link3s"
	Name   string
	Number int64 // spec.number, as the event had it.
	At     time.Time
}

type object struct {
	Name    string
	UID     string
	Version int64
	Spec    map[string]any
}

type watcher struct {
	kind, name string // Empty name: all.
	events     chan string
}

// Server is the fake. Threads: safe from any goroutine.
type Server struct {
	Kubeconfig string
	Answers    chan Answer

	kinds    int
	mutex    sync.Mutex
	version  int64
	objects  map[string]map[string]*object // By kind, then name.
	watchers map[string]map[*watcher]bool  // By kind.
	sent     map[string]time.Time          // By kind/name: when the last event's first byte went out.
}

// Start serves kinds link0s … until the test ends.
func Start(t testing.TB, kinds int) *Server {
	t.Helper()
	s := &Server{kinds: kinds, Answers: make(chan Answer, 1<<16), objects: map[string]map[string]*object{}, watchers: map[string]map[*watcher]bool{}, sent: map[string]time.Time{}, version: 1000}
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	authority, certificate := newPKI(t)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	folder := t.TempDir()
	s.Kubeconfig = filepath.Join(folder, "kubeconfig")
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: fake\nclusters:\n- name: fake\n  cluster: {server: %q, certificate-authority-data: %s}\ncontexts:\n- name: fake\n  context: {cluster: fake, user: fake}\nusers:\n- name: fake\n  user: {token: host}\n",
		server.URL, base64.StdEncoding.EncodeToString(authority))
	if err := os.WriteFile(s.Kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Emit changes an object: whoever watches it hears of it.
func (s *Server) Emit(kind, name string, number int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.put(kind, name, map[string]any{"number": number, "hop": 0})
}

// Sent is when the first byte of an object's last event was handed to a connection.
func (s *Server) Sent(kind, name string) time.Time {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.sent[kind+"/"+name]
}

// Watches is how many watches of objects of the chain are open.
func (s *Server) Watches() (count int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, of := range s.watchers {
		count += len(of)
	}
	return count
}

// Watched tells whether some watch would show this object.
func (s *Server) Watched(kind, name string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for w := range s.watchers[kind] {
		if w.name == "" || w.name == name {
			return true
		}
	}
	return false
}

// put is called with the mutex held.
func (s *Server) put(kind, name string, spec map[string]any) *object {
	s.version++
	event := "MODIFIED"
	if s.objects[kind] == nil {
		s.objects[kind] = map[string]*object{}
	}
	o := s.objects[kind][name]
	if o == nil {
		event = "ADDED"
		o = &object{Name: name, UID: fmt.Sprintf("00000000-0000-4000-8000-%012d", s.version)}
		s.objects[kind][name] = o
	}
	o.Version, o.Spec = s.version, spec
	line := frame(event, kind, o)
	for w := range s.watchers[kind] {
		if w.name == "" || w.name == name {
			select {
			case w.events <- line:
			default: // Far behind: as a real server, let it list again.
				delete(s.watchers[kind], w)
				close(w.events)
			}
		}
	}
	return o
}

// kindOf "link3s" is "Link3".
func kindOf(resource string) string { return "L" + strings.TrimSuffix(resource[1:], "s") }

func (o *object) json(kind string) map[string]any {
	return map[string]any{
		"apiVersion": group + "/v1", "kind": kindOf(kind),
		"metadata": map[string]any{"name": o.Name, "namespace": "default", "uid": o.UID, "resourceVersion": strconv.FormatInt(o.Version, 10), "generation": o.Version, "creationTimestamp": "2026-01-01T00:00:00Z"},
		"spec":     o.Spec,
	}
}

func frame(event, kind string, o *object) string {
	line, _ := json.Marshal(map[string]any{"type": event, "object": o.json(kind)})
	return string(line) + "\n"
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) //nolint:errcheck // The client has gone.
}

func notFound(w http.ResponseWriter, r *http.Request) {
	reply(w, 404, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "the fake API server has no " + r.URL.Path})
}

// ServeHTTP is the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case strings.HasSuffix(r.URL.Path, "/token") && r.Method == "POST":
		s.token(w, r)
	case strings.HasPrefix(r.URL.Path, "/apis/authorization.k8s.io/v1/self") && r.Method == "POST":
		var review map[string]any
		json.NewDecoder(r.Body).Decode(&review) //nolint:errcheck
		review["status"] = map[string]any{"allowed": true}
		reply(w, 201, review)
	case r.URL.Path == "/version":
		reply(w, 200, map[string]any{"major": "1", "minor": "36", "gitVersion": "v1.36.3", "platform": "linux/amd64"})
	case r.URL.Path == "/api":
		reply(w, 200, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case r.URL.Path == "/api/v1":
		reply(w, 200, map[string]any{"kind": "APIResourceList", "groupVersion": "v1", "resources": []any{}})
	case r.URL.Path == "/apis":
		version := map[string]any{"groupVersion": group + "/v1", "version": "v1"}
		reply(w, 200, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{map[string]any{"name": group, "versions": []any{version}, "preferredVersion": version}}})
	case r.URL.Path == "/apis/"+group:
		version := map[string]any{"groupVersion": group + "/v1", "version": "v1"}
		reply(w, 200, map[string]any{"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": []any{version}, "preferredVersion": version})
	case r.URL.Path == "/apis/"+group+"/v1":
		resources := []any{}
		for i := range s.kinds {
			resources = append(resources, map[string]any{"name": fmt.Sprintf("link%ds", i), "singularName": fmt.Sprintf("link%d", i), "namespaced": true, "kind": fmt.Sprintf("Link%d", i), "verbs": []string{"get", "list", "watch", "create", "patch"}})
		}
		reply(w, 200, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group + "/v1", "resources": resources})
	case len(parts) >= 4 && parts[1] == group:
		rest := parts[3:]
		if rest[0] == "namespaces" && len(rest) >= 3 {
			rest = rest[2:]
		}
		name := strings.TrimPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
		switch {
		case r.Method == "GET" && len(rest) == 1 && (r.URL.Query().Get("watch") == "true" || r.URL.Query().Get("watch") == "1"):
			s.watch(w, r, rest[0], name)
		case r.Method == "GET" && len(rest) == 1:
			s.list(w, rest[0], name)
		case r.Method == "GET" && len(rest) == 2:
			s.get(w, r, rest[0], rest[1])
		case (r.Method == "PATCH" || r.Method == "PUT") && len(rest) == 2:
			s.patch(w, r, rest[0], rest[1], at)
		default:
			notFound(w, r)
		}
	default:
		notFound(w, r)
	}
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	var request map[string]any
	if json.NewDecoder(r.Body).Decode(&request) != nil || request == nil {
		request = map[string]any{}
	}
	until := time.Now().Add(time.Hour)
	claims, _ := json.Marshal(map[string]any{"sub": "system:serviceaccount:default:chain", "exp": until.Unix(), "iat": time.Now().Unix()})
	part := base64.RawURLEncoding.EncodeToString
	request["status"] = map[string]any{"token": part([]byte(`{"alg":"none"}`)) + "." + part(claims) + "." + part([]byte("none")), "expirationTimestamp": until.UTC().Format(time.RFC3339)}
	reply(w, 201, request)
}

func (s *Server) list(w http.ResponseWriter, kind, name string) {
	s.mutex.Lock()
	items := []any{}
	for _, o := range s.objects[kind] {
		if name == "" || name == o.Name {
			items = append(items, o.json(kind))
		}
	}
	version := s.version
	s.mutex.Unlock()
	reply(w, 200, map[string]any{"apiVersion": group + "/v1", "kind": kindOf(kind) + "List", "metadata": map[string]any{"resourceVersion": strconv.FormatInt(version, 10)}, "items": items})
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, kind, name string) {
	s.mutex.Lock()
	o := s.objects[kind][name]
	var body map[string]any
	if o != nil {
		body = o.json(kind)
	}
	s.mutex.Unlock()
	if o == nil {
		notFound(w, r)
		return
	}
	reply(w, 200, body)
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, kind, name string, at time.Time) {
	body, _ := io.ReadAll(r.Body)
	var object struct {
		Spec map[string]any `json:"spec"`
	}
	json.Unmarshal(body, &object) //nolint:errcheck // Zero: an object of no number.
	number, _ := object.Spec["number"].(float64)
	s.mutex.Lock()
	changed := s.put(kind, name, object.Spec).json(kind)
	s.mutex.Unlock()
	select {
	case s.Answers <- Answer{kind, name, int64(number), at}:
	default: // Nobody looks.
	}
	reply(w, 200, changed)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, kind, name string) {
	query := r.URL.Query()
	from, _ := strconv.ParseInt(query.Get("resourceVersion"), 10, 64)
	sub := &watcher{kind, name, make(chan string, 1024)}
	s.mutex.Lock()
	var first strings.Builder
	for _, o := range s.objects[kind] {
		if (name == "" || name == o.Name) && o.Version > from {
			first.WriteString(frame("ADDED", kind, o))
		}
	}
	if query.Get("sendInitialEvents") == "true" {
		end, _ := json.Marshal(map[string]any{"type": "BOOKMARK", "object": map[string]any{"apiVersion": group + "/v1", "kind": kindOf(kind), "metadata": map[string]any{
			"resourceVersion": strconv.FormatInt(s.version, 10), "creationTimestamp": nil, "annotations": map[string]any{"k8s.io/initial-events-end": "true"}}}})
		first.Write(end)
		first.WriteString("\n")
	}
	if s.watchers[kind] == nil {
		s.watchers[kind] = map[*watcher]bool{}
	}
	s.watchers[kind][sub] = true
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		delete(s.watchers[kind], sub)
		s.mutex.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(200)
	io.WriteString(w, first.String()) //nolint:errcheck
	w.(http.Flusher).Flush()
	for {
		select {
		case line, open := <-sub.events:
			if !open {
				return
			}
			s.note(kind, line)
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// note writes down when an event goes out.
func (s *Server) note(kind, line string) {
	_, after, _ := strings.Cut(line, `"name":"`)
	name, _, _ := strings.Cut(after, `"`)
	now := time.Now()
	s.mutex.Lock()
	s.sent[kind+"/"+name] = now
	s.mutex.Unlock()
}
