// SPDX-License-Identifier: Apache-2.0

package semantics

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"dormouse.dev/conformance/target"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Whoever has seen a write's answer never reads an older state: neither who wrote through the target, nor who reads
// through it what another wrote to the API server. Other watchers and other writers keep the caches busy meanwhile.
func TestNoReadIsOlderThanAWriteThatWasAnswered(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, 4*soon, "writes and reads")
		for _, query := range []string{watchList, "watch=true", watchList + "&labelSelector=mine"} {
			w := to.Watch(t, ctx, p.path(query))
			go func() {
				for {
					if _, err := w.Next(); err != nil {
						return
					}
				}
			}()
		}
		var clients sync.WaitGroup
		failures := make(chan error, 8)
		for who := range 4 {
			clients.Go(func() {
				writer := to
				if who%2 == 1 {
					writer = p.Direct
				}
				failures <- writeAndRead(t, p, writer, to, fmt.Sprintf("object-%d", who))
			})
		}
		clients.Wait()
		close(failures)
		for err := range failures {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

var answeredWrites = map[bool]int{true: 10, false: 40}[os.Getenv("CONFORMANCE_SHORT") != ""]

func writeAndRead(t *testing.T, p place, writer, reader *target.Target, name string) error {
	ctx := t.Context()
	write, read := writer.Client.CoreV1().ConfigMaps(p.ns), reader.Client.CoreV1().ConfigMaps(p.ns)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"mine": name}}}
	for i := range answeredWrites {
		written, err := write.Create(ctx, object, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if _, err := read.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return fmt.Errorf("%s by %s, round %d: GET after create: %w", name, writer.Name, i, err)
		}
		written.Data = map[string]string{"value": fmt.Sprint(i)}
		if written, err = write.Update(ctx, written, metav1.UpdateOptions{}); err != nil {
			return err
		}
		got, err := read.Get(ctx, name, metav1.GetOptions{})
		if err != nil || got.ResourceVersion != written.ResourceVersion {
			return fmt.Errorf("%s by %s, round %d: GET after update to revision %s: %s, %w", name, writer.Name, i, written.ResourceVersion, got.ResourceVersion, err)
		}
		for _, o := range []metav1.ListOptions{
			{}, {LabelSelector: "mine=" + name}, {FieldSelector: "metadata.name=" + name}, {Limit: 500},
			{ResourceVersion: written.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}, {ResourceVersion: written.ResourceVersion},
		} {
			list, err := read.List(ctx, o)
			if err != nil {
				return fmt.Errorf("%s by %s, round %d: LIST %v: %w", name, writer.Name, i, o, err)
			}
			found := ""
			for _, item := range list.Items {
				if item.Name == name {
					found = item.ResourceVersion
				}
			}
			if found != written.ResourceVersion {
				return fmt.Errorf("%s by %s, round %d: LIST %v after update to revision %s has it at %q; the list is of %s", name, writer.Name, i, o.String(), written.ResourceVersion, found, list.ResourceVersion)
			}
		}
		if err := write.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if _, err := read.Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s by %s, round %d: GET after delete: %v, want NotFound", name, writer.Name, i, err)
		}
		list, err := read.List(ctx, metav1.ListOptions{LabelSelector: "mine=" + name})
		if err != nil || len(list.Items) != 0 {
			return fmt.Errorf("%s by %s, round %d: LIST after delete has %d items (%v)", name, writer.Name, i, len(list.Items), err)
		}
	}
	return nil
}

// A client that goes back and forth between revision 0 and unset never sees a list go back, on one connection to one server.
func TestListsOfRevisionZeroDoNotGoBack(t *testing.T) {
	target.Shared(t).Each(t, func(t *testing.T, to *target.Target) {
		p := newPlace(t, target.Shared(t))
		ctx := target.Within(t, soon, "lists")
		w := to.Watch(t, ctx, p.path(watchList))
		w.Take(t, 1)
		last := uint64(0)
		p.create("object", nil)
		for i := range 50 {
			p.touch("object", fmt.Sprint(i))
			l := parseList(t, to.Get(t, ctx, p.path("resourceVersion=0")))
			at := number(t, l.Metadata.ResourceVersion)
			if at < last {
				t.Fatalf("a list of revision %d comes after one of %d", at, last)
			}
			last = at
		}
	})
}
