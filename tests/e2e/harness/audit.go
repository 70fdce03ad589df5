// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Event is one line of the API server's audit log: the proof of who asked for what, and of what came of it.
type Event struct {
	AuditID    string `json:"auditID"`
	Stage      string `json:"stage"` // ResponseStarted (watches only) or ResponseComplete.
	RequestURI string `json:"requestURI"`
	Verb       string `json:"verb"`
	User       struct {
		Username string              `json:"username"`
		Groups   []string            `json:"groups"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
	ImpersonatedUser *struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	UserAgent string `json:"userAgent"`
	ObjectRef struct {
		Resource, Namespace, Name, APIGroup, APIVersion, Subresource string
	} `json:"objectRef"`
	ResponseStatus struct {
		Code    int    `json:"code"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"responseStatus"`
	RequestReceived time.Time         `json:"requestReceivedTimestamp"`
	StageReached    time.Time         `json:"stageTimestamp"`
	Annotations     map[string]string `json:"annotations"`
}

// PodName is the pod that the request's token is bound to, or "".
func (e Event) PodName() string {
	if names := e.User.Extra["authentication.kubernetes.io/pod-name"]; len(names) > 0 {
		return names[0]
	}
	return ""
}

// Filter chooses events; an empty field matches everything.
type Filter struct {
	User        string // Exact; ServiceAccountUser makes a ServiceAccount's.
	Pod         string // That the token is bound to.
	UserAgent   string // A part of it.
	Verb        string
	Group       string
	Resource    string
	Subresource string // "-": none.
	Namespace   string
	Name        string
	Code        int
	Stage       string // Empty: ResponseComplete, or for a watch either stage.
	URI         string // A part of it.
	Where       func(Event) bool
}

// ServiceAccountUser is the user name of a ServiceAccount.
func ServiceAccountUser(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func (f Filter) matches(e Event) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.User, e.User.Username) && is(f.Pod, e.PodName()) && strings.Contains(e.UserAgent, f.UserAgent) &&
		is(f.Verb, e.Verb) && is(f.Group, e.ObjectRef.APIGroup) && is(f.Resource, e.ObjectRef.Resource) &&
		(is(f.Subresource, e.ObjectRef.Subresource) || f.Subresource == "-" && e.ObjectRef.Subresource == "") &&
		is(f.Namespace, e.ObjectRef.Namespace) && is(f.Name, e.ObjectRef.Name) &&
		(f.Code == 0 || f.Code == e.ResponseStatus.Code) &&
		(is(f.Stage, e.Stage) && (f.Stage != "" || e.Stage == "ResponseComplete" || e.Verb == "watch")) &&
		strings.Contains(e.RequestURI, f.URI) && (f.Where == nil || f.Where(e))
}

func (f Filter) String() string {
	type plain Filter // Without this method.
	f.Where = nil
	return fmt.Sprintf("%+v", plain(f))
}

// Audit reads the audit log from a moment on.
type Audit struct {
	path  string
	start int64
}

// Audit begins to read the audit log here: it shows what is logged from now on.
func (c *Cluster) Audit(t testing.TB) *Audit {
	t.Helper()
	info, err := os.Stat(c.AuditLog)
	if err != nil {
		t.Fatal(err)
	}
	return &Audit{c.AuditLog, info.Size()}
}

// WholeAudit reads the audit log from the cluster's start.
func (c *Cluster) WholeAudit() *Audit { return &Audit{c.AuditLog, 0} }

// Events returns the events so far, in the order of the log.
func (a *Audit) Events(t testing.TB, f Filter) []Event {
	t.Helper()
	events, _, err := a.read(a.start, f)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// read returns the matching events from offset on, and the offset behind the last whole line.
func (a *Audit) read(offset int64, f Filter) ([]Event, int64, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, offset, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, offset, err
	}
	content := make([]byte, max(0, info.Size()-offset))
	n, err := file.ReadAt(content, offset)
	if n < len(content) {
		return nil, offset, fmt.Errorf("%s: %w", a.path, err)
	}
	var events []Event
	for {
		line, rest, whole := bytes.Cut(content, []byte("\n"))
		if !whole {
			return events, offset, nil
		}
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, offset, fmt.Errorf("%s at byte %d: %w", a.path, offset, err)
		}
		if f.matches(e) {
			events = append(events, e)
		}
		offset += int64(len(line)) + 1
		content = rest
	}
}

// Await returns the events when there are at least count of them; it fails the test when the time is up.
func (a *Audit) Await(t testing.TB, f Filter, count int, within time.Duration) []Event {
	t.Helper()
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, a.path, unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	var events []Event
	offset := a.start
	for deadline := time.Now().Add(within); ; {
		more, next, err := a.read(offset, f)
		if err != nil {
			t.Fatal(err)
		}
		events, offset = append(events, more...), next
		if len(events) >= count {
			return events
		}
		left := time.Until(deadline)
		if left <= 0 {
			t.Fatalf("the audit log has %d of %d events that match %v after %v; the last lines of anyone:\n%s", len(events), count, f, within, a.tail())
		}
		unix.Poll([]unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}, int(left.Milliseconds())+1) //nolint:errcheck // EINTR: look again.
		unix.Read(watch, make([]byte, 1<<16))                                                         //nolint:errcheck // Only that it woke us matters.
	}
}

func (a *Audit) tail() string {
	events, _, err := a.read(a.start, Filter{})
	if err != nil {
		return err.Error()
	}
	text := ""
	for _, e := range events[max(0, len(events)-15):] {
		text += fmt.Sprintf("  %s: %v -> %d (%s)\n", e.User.Username, RequestOf(e), e.ResponseStatus.Code, e.UserAgent)
	}
	return text
}

// Request is what an event asked for, without who and when: comparable, so that two runs can be compared.
type Request struct {
	Verb, Group, Version, Resource, Subresource, Namespace, Name string
	Code                                                         int
}

func (r Request) String() string {
	text := fmt.Sprintf("%s %s/%s/%s", r.Verb, r.Group, r.Version, r.Resource)
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	return fmt.Sprintf("%s %s/%s %d", text, r.Namespace, r.Name, r.Code)
}

// RequestOf reduces an event. Names that the server or the client made up (Events) are left out.
func RequestOf(e Event) Request {
	o := e.ObjectRef
	r := Request{e.Verb, o.APIGroup, o.APIVersion, o.Resource, o.Subresource, o.Namespace, o.Name, e.ResponseStatus.Code}
	if r.Resource == "events" {
		r.Name = ""
	}
	return r
}

// Requests are the different requests among events, sorted: how often each was made is a matter of timing.
func Requests(events []Event) []Request {
	var all []Request
	for _, e := range events {
		all = append(all, RequestOf(e))
	}
	slices.SortFunc(all, func(a, b Request) int { return cmp.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}
