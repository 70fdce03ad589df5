// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// load makes and changes Greetings of several greeters, and knows what must have become of them.
type load struct {
	c         *harness.Cluster
	ns        string
	greeters  []greeter
	objects   int // Of each greeter.
	changes   int // Of each object, after it was made.
	concluded atomic.Int64
}

func (l *load) name(g greeter, i int) string { return fmt.Sprintf("%s-%d", g.language, i) }
func (l *load) whom(i, step int) string      { return fmt.Sprintf("w%d-%d", i, step) }

// run writes it all, and stubbornly: while the API server is away it tries again. It yields at the end, or with ctx.
func (l *load) run(ctx context.Context) error {
	var all sync.WaitGroup
	errors := make(chan error, len(l.greeters))
	for _, g := range l.greeters {
		all.Go(func() {
			for step := range l.changes + 1 {
				for i := range l.objects {
					if err := l.write(ctx, g, i, step); err != nil {
						errors <- fmt.Errorf("%s %s: %w", g.language, l.name(g, i), err)
						return
					}
					l.concluded.Add(1)
				}
			}
		})
	}
	all.Wait()
	close(errors)
	return <-errors
}

func (l *load) write(ctx context.Context, g greeter, i, step int) error {
	object := fmt.Sprintf(`{"apiVersion":"%s/v1","kind":"Greeting","metadata":{"name":"%s"},"spec":{"name":"%s"}}`, g.group(), l.name(g, i), l.whom(i, step))
	force := true
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		_, err := l.c.Dynamic.Resource(g.resource()).Namespace(l.ns).Patch(ctx, l.name(g, i), types.ApplyPatchType, []byte(object), metav1.PatchOptions{FieldManager: "e2e", Force: &force})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; at last %v", ctx.Err(), err)
		case <-pause.C:
		}
	}
}

// start runs it beside the test; the function waits for its end.
func (l *load) start(t *testing.T) func() {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	done := make(chan error, 1)
	go func() { done <- l.run(ctx) }()
	return func() {
		t.Helper()
		defer cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// half waits until half of the writes are done.
func (l *load) half(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, func() string {
		if n, all := l.concluded.Load(), len(l.greeters)*l.objects*(l.changes+1); int(n) < all/2 {
			return fmt.Sprintf("%d of %d writes are done", n, all)
		}
		return ""
	})
}

// await waits until every object is greeted as its last change demands, and checks each ConfigMap: nothing is lost.
func (l *load) await(t *testing.T, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, g := range l.greeters {
		for i := range l.objects {
			whom := l.whom(i, l.changes)
			var last *unstructured.Unstructured
			err := l.c.Observe(ctx, g.resource(), l.ns, l.name(g, i), func(o *unstructured.Unstructured) bool {
				last = o
				return o != nil && greeted(whom)(o)
			})
			if err != nil {
				t.Fatalf("%s-greeter has not answered for %s within %v (%v): %s", g.language, l.name(g, i), within, err, state(orEmpty(last)))
			}
			l.c.Await(t, configMaps, l.ns, l.name(g, i)+g.suffix, soon, g.configMap(whom))
		}
	}
}

func orEmpty(o *unstructured.Unstructured) *unstructured.Unstructured {
	if o == nil {
		return &unstructured.Unstructured{Object: map[string]any{}}
	}
	return o
}

// ordered watches one greeter's Greetings and tells if an answer ever went back to an older question.
func (l *load) ordered(t *testing.T, g greeter) (finish func()) {
	t.Helper()
	watcher, err := l.c.Dynamic.Resource(g.resource()).Namespace(l.ns).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		steps, wrong := map[string]int{}, ""
		for event := range watcher.ResultChan() {
			o, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			message, _, _ := unstructured.NestedString(o.Object, "status", "message")
			var object, step int
			if _, err := fmt.Sscanf(strings.TrimPrefix(message, "Hello, "), "w%d-%d!", &object, &step); err != nil {
				continue
			}
			if step < steps[o.GetName()] {
				wrong += fmt.Sprintf("%s %s: answered change %d after %d\n", g.language, o.GetName(), step, steps[o.GetName()])
			}
			steps[o.GetName()] = step
		}
		done <- wrong
	}()
	return func() {
		t.Helper()
		watcher.Stop()
		if wrong := <-done; wrong != "" {
			t.Error(wrong)
		}
	}
}
