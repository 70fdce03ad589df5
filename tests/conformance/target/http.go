// SPDX-License-Identifier: Apache-2.0

package target

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// Answer is one whole response.
type Answer struct {
	Code        int
	ContentType string
	Header      http.Header
	Body        []byte
}

// Status is "200", or the code and reason of the Status object in the body, "410 Expired".
func (a Answer) Status() string {
	if a.Code < 400 {
		return strconv.Itoa(a.Code)
	}
	var status metav1.Status
	if err := json.Unmarshal(a.Body, &status); err != nil || status.Kind != "Status" {
		return fmt.Sprintf("%d without a Status: %.200s", a.Code, a.Body)
	}
	if int(status.Code) != a.Code {
		return fmt.Sprintf("%d with a Status of code %d", a.Code, status.Code)
	}
	return fmt.Sprintf("%d %s", a.Code, status.Reason)
}

// Object is the body as JSON.
func (a Answer) Object(t testing.TB) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(a.Body, &object); err != nil {
		t.Fatalf("no JSON (%v), code %d, %s: %.300s", err, a.Code, a.ContentType, a.Body)
	}
	return object
}

// Get asks as these headers say (name, value, …), without a client library between.
func (target *Target) Get(t testing.TB, ctx context.Context, path string, headers ...string) Answer {
	t.Helper()
	response, err := target.open(ctx, path, headers...)
	if err != nil {
		t.Fatalf("%s: GET %s: %v", target.Name, path, errors.Join(err, context.Cause(ctx)))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s: GET %s: the body ends early: %v", target.Name, path, errors.Join(err, context.Cause(ctx)))
	}
	return Answer{response.StatusCode, response.Header.Get("Content-Type"), response.Header, body}
}

func (target *Target) open(ctx context.Context, path string, headers ...string) (*http.Response, error) {
	client, err := rest.HTTPClientFor(target.Config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.Config.Host+path, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return client.Do(request)
}

// Event is one event of a watch.
type Event struct {
	Type   string
	Object unstructured.Unstructured
	Raw    json.RawMessage
}

// Revision is the object's resourceVersion as a number.
func (e Event) Revision() uint64 {
	n, _ := strconv.ParseUint(e.Object.GetResourceVersion(), 10, 64)
	return n
}

// String is what claims compare: "ADDED name".
func (e Event) String() string { return e.Type + " " + e.Object.GetName() }

// InitialEventsEnd says that this bookmark ends the initial events.
func (e Event) InitialEventsEnd() bool {
	return e.Type == "BOOKMARK" && e.Object.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}

// Watch is one open watch, read line by line. Threads: one reader.
type Watch struct {
	Code        int
	ContentType string
	Refusal     Answer // If Code is not 200.

	ctx     context.Context
	body    io.ReadCloser
	scanner *bufio.Scanner
}

// Watch opens a watch of JSON; the path has watch=true in it. It ends with the context.
func (target *Target) Watch(t testing.TB, ctx context.Context, path string, headers ...string) *Watch {
	t.Helper()
	w, err := target.TryWatch(ctx, path, headers...)
	if err != nil {
		t.Fatalf("%s: watch %s: %v", target.Name, path, err)
	}
	t.Cleanup(w.Stop)
	return w
}

// TryWatch is Watch outside the test's goroutine.
func (target *Target) TryWatch(ctx context.Context, path string, headers ...string) (*Watch, error) {
	response, err := target.open(ctx, path, headers...)
	if err != nil {
		return nil, errors.Join(err, context.Cause(ctx))
	}
	w := &Watch{Code: response.StatusCode, ContentType: response.Header.Get("Content-Type"), ctx: ctx, body: response.Body}
	if w.Code != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		w.Refusal = Answer{w.Code, w.ContentType, response.Header, body}
	}
	w.scanner = bufio.NewScanner(response.Body)
	w.scanner.Buffer(make([]byte, 64<<10), 16<<20)
	return w, nil
}

// Stop ends the watch from our side.
func (w *Watch) Stop() { w.body.Close() }

// Next is the next event; io.EOF when the server has ended the watch properly.
func (w *Watch) Next() (Event, error) {
	if w.Code != http.StatusOK {
		return Event{}, fmt.Errorf("the watch was refused: %s", w.Refusal.Status())
	}
	if !w.scanner.Scan() {
		if err := w.scanner.Err(); err != nil {
			return Event{}, errors.Join(err, context.Cause(w.ctx))
		}
		return Event{}, io.EOF
	}
	var frame struct {
		Type   string
		Object json.RawMessage
	}
	if err := json.Unmarshal(w.scanner.Bytes(), &frame); err != nil {
		return Event{}, fmt.Errorf("no event: %w: %.300s", err, w.scanner.Bytes())
	}
	e := Event{Type: frame.Type, Raw: frame.Object}
	return e, json.Unmarshal(frame.Object, &e.Object.Object)
}

// Take is the next count events; the claim ends if they do not come. Bookmarks come when the server likes: only the one
// that ends the initial events is counted.
func (w *Watch) Take(t testing.TB, count int) []Event {
	t.Helper()
	var events []Event
	for len(events) < count {
		e, err := w.Next()
		if err != nil {
			t.Fatalf("after %d of %d events (%v): %v", len(events), count, Names(events), err)
		}
		if e.Type != "BOOKMARK" || e.InitialEventsEnd() {
			events = append(events, e)
		}
	}
	return events
}

// Names is events as claims state them.
func Names(events []Event) []string {
	names := []string{}
	for _, e := range events {
		names = append(names, e.String())
	}
	return names
}
