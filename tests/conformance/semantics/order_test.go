// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	"dormouse.dev/e2e/harness"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the many watchers see. The figures are the issue's: 200 watchers, thousands of changes.
const (
	orderWatchers = 200
	orderWriters  = 8
	orderWithin   = 3 * time.Minute
)

var orderChanges = map[bool]int{true: 400, false: 2000}[os.Getenv("CONFORMANCE_SHORT") != ""]

// Each of 200 watchers, begun at any revision while thousands of changes are made, sees exactly the changes above
// its revision, in one order, which is that of their revisions.
func TestTwoHundredWatchersSeeOneOrder(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, orderWithin, "all watchers to see the last change")
		audit := p.Cluster.Audit(t)
		// One watches all the while: so there is a cache before there is anybody to share it.
		first := to.Watch(t, ctx, p.path("watch=true&resourceVersion=0"))
		defer first.Stop()
		p.create("first", nil)
		for {
			event, err := first.Next()
			if err != nil {
				t.Fatal(err)
			}
			if event.Object.GetName() == "first" {
				break
			}
		}
		go func() {
			for _, err := first.Next(); err == nil; _, err = first.Next() {
			}
		}()
		begin := p.create("begin", nil).ResourceVersion

		// The changes, and the revisions that there are so far.
		var mutex sync.Mutex
		more := sync.NewCond(&mutex)
		revisions := []string{begin}
		written := make(chan struct{}) // Closed when all changes are made.
		var writers sync.WaitGroup
		failures := make(chan error, orderWriters+orderWatchers)
		for writer := range orderWriters {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(writer), 1))
				if err := change(ctx, p, random, writer, func(revision string) {
					mutex.Lock()
					defer mutex.Unlock()
					revisions = append(revisions, revision)
					more.Broadcast()
				}); err != nil {
					failures <- err
				}
			})
		}
		go func() {
			writers.Wait()
			mutex.Lock()
			defer mutex.Unlock()
			close(written)
			more.Broadcast()
		}()
		allMade := func() bool {
			select {
			case <-written:
				return true
			default:
				return false
			}
		}

		// The watchers start one by one while the changes are made, each at a revision that there was.
		seen := make([][]string, orderWatchers)
		var watchers sync.WaitGroup
		random := rand.New(rand.NewPCG(7, 7))
		for i := range orderWatchers {
			mutex.Lock()
			for len(revisions) < i*orderChanges/orderWatchers/2 && !allMade() {
				more.Wait()
			}
			from := revisions[random.IntN(len(revisions))]
			mutex.Unlock()
			watchers.Go(func() {
				var err error
				if seen[i], err = follow(ctx, to, p.path("watch=true&resourceVersion="), from); err != nil {
					failures <- fmt.Errorf("watcher %d from revision %s, after %d events: %w", i, from, len(seen[i]), err)
				}
			})
		}
		select {
		case <-written:
		case err := <-failures:
			t.Fatal(err)
		}
		p.create("end", nil)
		watchers.Wait()
		close(failures)
		for err := range failures {
			t.Error(err)
		}
		if t.Failed() {
			return
		}

		// The one order is that of a watch that began first and ran alone, directly.
		all, err := follow(ctx, p.Direct, p.path("watch=true&resourceVersion="), begin)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) < orderChanges {
			t.Fatalf("the API server shows %d events of %d changes", len(all), orderChanges)
		}
		events := 0
		for i, mine := range seen {
			events += len(mine)
			if len(mine) == 0 || len(mine) > len(all) {
				t.Fatalf("watcher %d saw %d of %d events", i, len(mine), len(all))
			}
			for j, event := range all[len(all)-len(mine):] {
				if mine[j] != event {
					t.Fatalf("watcher %d saw %q as its event %d of %d, where the API server has %q", i, mine[j], j, len(mine), event)
				}
			}
		}
		watches := len(audit.Events(t, harness.Filter{Verb: "watch", Resource: "configmaps", Namespace: p.ns, Stage: "ResponseStarted"})) - 1 // Ours.
		t.Logf("%d watchers saw %d events of %d changes in one order, by %d watches of the API server", orderWatchers, events, len(all), watches)
		if to.Name == target.Dormouse && watches > 3 {
			t.Errorf("%d watchers were %d watches at the API server: they do not share one", orderWatchers, watches)
		}
	})
}

// change makes one writer's share of the changes: objects are created, changed and deleted.
func change(ctx context.Context, p place, random *rand.Rand, writer int, made func(revision string)) error {
	client := p.Cluster.Client.CoreV1().ConfigMaps(p.ns)
	there := map[string]bool{}
	for i := range orderChanges / orderWriters {
		name := fmt.Sprintf("object-%d-%d", writer, random.IntN(6))
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"value": fmt.Sprint(i)}}
		var result *corev1.ConfigMap
		var err error
		switch {
		case !there[name]:
			result, err = client.Create(ctx, object, metav1.CreateOptions{})
			there[name] = true
		case random.IntN(4) == 0:
			err = client.Delete(ctx, name, metav1.DeleteOptions{})
			there[name] = false
		default:
			result, err = client.Update(ctx, object, metav1.UpdateOptions{})
		}
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if result != nil {
			made(result.ResourceVersion)
		}
	}
	return nil
}

// follow reads a watch until the object "end" appears. A watcher that falls behind may be ended by the server, as
// properly as by a time-out; it goes on from what it has seen.
func follow(ctx context.Context, to *target.Target, path, from string) (seen []string, err error) {
	last, _ := strconv.ParseUint(from, 10, 64)
	for {
		w, err := to.TryWatch(ctx, fmt.Sprintf("%s%d", path, last))
		if err != nil {
			return seen, err
		}
		for err == nil {
			var e target.Event
			if e, err = w.Next(); err != nil {
				break
			}
			if e.Type == "ERROR" {
				err = fmt.Errorf("ERROR %s", e.Raw)
				break
			}
			if e.Revision() <= last {
				err = fmt.Errorf("%v has revision %d, after %d", e, e.Revision(), last)
				break
			}
			last = e.Revision()
			seen = append(seen, fmt.Sprintf("%d %v", last, e))
			if e.Object.GetName() == "end" {
				w.Stop()
				return seen, nil
			}
		}
		w.Stop()
		if err != io.EOF {
			return seen, err
		}
	}
}
