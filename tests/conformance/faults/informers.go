// SPDX-License-Identifier: Apache-2.0

// Package faults breaks a real control plane while informers watch it, directly and through `dormouse proxy`. The
// claim is always the same: in the end each informer's store is what a LIST of the API server says.
package faults

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// fleet is many informers of ConfigMaps: of all namespaces, of one, of a selection, each with its own connection state.
type fleet struct {
	t         *testing.T
	pair      *target.Pair
	target    *target.Target
	ns        string
	informers []member
}

type member struct {
	what     string
	selector string
	all      bool // Of all namespaces.
	informer cache.SharedIndexInformer
	changed  chan struct{} // Something has come; holds one.
}

// start starts count informers, and returns when each has its first store. They end with the test.
func start(t *testing.T, pair *target.Pair, to *target.Target, ns string, count int) *fleet {
	t.Helper()
	f := &fleet{t: t, pair: pair, target: to, ns: ns}
	ctx := t.Context()
	for i := range count {
		m := member{changed: make(chan struct{}, 1)}
		options := []informers.SharedInformerOption{}
		switch i % 3 {
		case 0:
			m.what, m.all = "all namespaces", true
		case 1:
			m.what = "one namespace"
			options = append(options, informers.WithNamespace(ns))
		default:
			m.what, m.selector = "a selection", "group in (a, end)"
			options = append(options, informers.WithNamespace(ns), informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = m.selector }))
		}
		m.informer = informers.NewSharedInformerFactoryWithOptions(to.Client, 0, options...).Core().V1().ConfigMaps().Informer()
		m.informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {}) //nolint:errcheck // Errors are what we cause.
		poke := func(any) {
			select {
			case m.changed <- struct{}{}:
			default:
			}
		}
		if _, err := m.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) }, DeleteFunc: poke}); err != nil {
			t.Fatal(err)
		}
		go m.informer.RunWithContext(ctx)
		f.informers = append(f.informers, m)
	}
	for _, m := range f.informers {
		if !cache.WaitForCacheSync(target.Within(t, time.Minute, "the first stores").Done(), m.informer.HasSynced) {
			t.Fatalf("the informer of %s has no first store", m.what)
		}
	}
	return f
}

// change makes a mixed lot of changes, as the administrator, directly.
func (f *fleet) change(round int) {
	f.t.Helper()
	client := f.pair.Cluster.Client.CoreV1().ConfigMaps(f.ns)
	ctx := f.t.Context()
	for i := range 10 {
		name := fmt.Sprintf("object-%d", (round*7+i)%25)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"group": string(rune('a' + (round+i)%2))}}, Data: map[string]string{"round": fmt.Sprint(round)}}
		if _, err := client.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
			if _, err := client.Create(ctx, object, metav1.CreateOptions{}); err != nil {
				f.t.Fatal(err)
			}
		} else if i%4 == 3 {
			if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
				f.t.Fatal(err)
			}
		}
	}
}

// settled makes a last change and returns when each store has it: then each has to be what a direct LIST says.
func (f *fleet) settled(name string, within time.Duration) {
	f.t.Helper()
	client := f.pair.Cluster.Client.CoreV1().ConfigMaps(f.ns)
	end, err := client.Create(f.t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"group": "end"}}}, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	begin := time.Now()
	ctx := target.Within(f.t, within, "the last change in every store")
	for i, m := range f.informers {
		for {
			if object, there, _ := m.informer.GetStore().GetByKey(f.ns + "/" + name); there && object.(*corev1.ConfigMap).UID == end.UID {
				break
			}
			select {
			case <-m.changed:
			case <-ctx.Done():
				f.t.Fatalf("informer %d, of %s, has not seen the last change after %v; its store: %v", i, m.what, within, keys(m.informer.GetStore().List()))
			}
		}
	}
	f.t.Logf("%d informers have the last change %.1f s after it", len(f.informers), time.Since(begin).Seconds())
	for i, m := range f.informers {
		ns := f.ns
		if m.all {
			ns = ""
		}
		list, err := f.pair.Cluster.Client.CoreV1().ConfigMaps(ns).List(f.t.Context(), metav1.ListOptions{LabelSelector: m.selector})
		if err != nil {
			f.t.Fatal(err)
		}
		var want []any
		for j := range list.Items {
			want = append(want, &list.Items[j])
		}
		have := m.informer.GetStore().List()
		if !slices.Equal(keys(have), keys(want)) {
			f.t.Errorf("informer %d, of %s, has\n %s\nand a LIST has\n %s", i, m.what, keys(have), keys(want))
			continue
		}
		for _, object := range want {
			o := object.(*corev1.ConfigMap)
			mine, _, _ := m.informer.GetStore().GetByKey(o.Namespace + "/" + o.Name)
			if !reflect.DeepEqual(mine, object) {
				f.t.Errorf("informer %d, of %s: %s/%s is\n %+v\nand a LIST has\n %+v", i, m.what, o.Namespace, o.Name, mine, o)
			}
		}
	}
}

// keys is what a store has, with uids and revisions, in order.
func keys(objects []any) []string {
	all := []string{}
	for _, object := range objects {
		o := object.(*corev1.ConfigMap)
		all = append(all, strings.Join([]string{o.Namespace, o.Name, o.ResourceVersion, string(o.UID)}, "/"))
	}
	slices.Sort(all)
	return all
}
