// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// ChainGroup is the API group of examples/chain.
const ChainGroup = "chain.dormouse.example"

// Link is the resource that operator `index` watches.
func Link(index int) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: ChainGroup, Version: "v1", Resource: fmt.Sprintf("link%ds", index)}
}

func linkCRD(i int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": fmt.Sprintf("link%ds.%s", i, ChainGroup)},
		"spec": map[string]any{
			"group": ChainGroup, "scope": "Namespaced",
			"names": map[string]any{"kind": fmt.Sprintf("Link%d", i), "listKind": fmt.Sprintf("Link%dList", i), "plural": fmt.Sprintf("link%ds", i), "singular": fmt.Sprintf("link%d", i)},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{"spec": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
			}},
		},
	}}
}

// SetUpChain makes the kinds Link0 … Link<kinds-1> and the operators' identity, as examples/chain does (crds.sh, rbac.yaml);
// several kinds at once, for there are hundreds.
func SetUpChain(t testing.TB, c *harness.Cluster, kinds int) {
	t.Helper()
	began := time.Now()
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var workers sync.WaitGroup
	next, failures := make(chan int), make(chan error, kinds)
	for range 8 {
		workers.Go(func() {
			for i := range next {
				if _, err := c.Dynamic.Resource(crds).Create(ctx, linkCRD(i), metav1.CreateOptions{}); err != nil {
					failures <- err
				}
			}
		})
	}
	for i := range kinds {
		next <- i
	}
	close(next)
	workers.Wait()
	close(failures)
	if err := <-failures; err != nil {
		t.Fatal(err)
	}
	for i := range kinds {
		err := c.Observe(ctx, crds, "", fmt.Sprintf("link%ds.%s", i, ChainGroup), func(crd *unstructured.Unstructured) bool {
			return crd != nil && harness.HasCondition(crd, "Established", "True")
		})
		if err != nil {
			t.Fatalf("kind %d of %d: %v", i, kinds, err)
		}
	}
	c.ApplyFile(t, "default", filepath.Join("../../examples/chain/rbac.yaml"))
	Say("%d kinds of a chain in %.0f s", kinds, time.Since(began).Seconds())
}

// ChainOperator is operator `index`, in Rust or Go.
func ChainOperator(language string, index int) harness.Operator {
	folder, name := os.Getenv("EXAMPLES"), "chain-"+language
	return harness.Operator{
		Name: fmt.Sprintf("%s-%d", name, index), Namespace: "default", ServiceAccount: "chain", MemoryLimit: "256Mi",
		Native: filepath.Join(folder, name), Module: filepath.Join(folder, name+".wasm"),
		Env: map[string]string{"CHAIN_INDEX": fmt.Sprint(index), "CHAIN_LENGTH": fmt.Sprint(index + 1)},
	}
}

// Chain is operators first … last; what enters as Link<first> leaves as Link<last+1>.
type Chain struct {
	First, Last int

	c        *harness.Cluster
	arrivals chan Arrival
	sent     int64
}

// Arrival is an object that has passed the chain.
type Arrival struct {
	Number int64
	At     time.Time
	Object *unstructured.Unstructured
}

// NewChain follows the objects that leave a chain until the test ends. The chain's object is called `name`.
func NewChain(t testing.TB, c *harness.Cluster, first, last int, name string) *Chain {
	t.Helper()
	chain := &Chain{First: first, Last: last, c: c, arrivals: make(chan Arrival, 1024)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			watcher, err := c.Dynamic.Resource(Link(last+1)).Namespace("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
			if err != nil {
				continue // The API server is busy: its client waits before it tries again.
			}
			for event := range watcher.ResultChan() {
				at := time.Now()
				o, ok := event.Object.(*unstructured.Unstructured)
				if !ok || event.Type == watch.Deleted {
					continue
				}
				number, _, _ := unstructured.NestedInt64(o.Object, "spec", "number")
				chain.arrivals <- Arrival{number, at, o}
			}
		}
	}()
	return chain
}

// Send puts the next object in at the front.
func (chain *Chain) Send(ctx context.Context, name string) error {
	chain.sent++
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": ChainGroup + "/v1", "kind": fmt.Sprintf("Link%d", chain.First),
		"metadata": map[string]any{"name": name, "namespace": "default"}, "spec": map[string]any{"number": chain.sent, "hop": int64(0)},
	}}
	_, err := chain.c.Dynamic.Resource(Link(chain.First)).Namespace("default").Apply(ctx, name, o, metav1.ApplyOptions{FieldManager: "bench", Force: true})
	return err
}

// Await waits for the object that was sent last.
func (chain *Chain) Await(ctx context.Context) (Arrival, error) {
	for {
		select {
		case a := <-chain.arrivals:
			if a.Number >= chain.sent {
				return a, nil
			}
		case <-ctx.Done():
			return Arrival{}, fmt.Errorf("object %d has not passed operators %d to %d: %w", chain.sent, chain.First, chain.Last, errors.Join(ctx.Err(), context.Cause(ctx)))
		}
	}
}

// Pass sends an object and awaits it; it yields how long it took.
func (chain *Chain) Pass(ctx context.Context, name string) (time.Duration, Arrival, error) {
	began := time.Now()
	if err := chain.Send(ctx, name); err != nil {
		return 0, Arrival{}, err
	}
	a, err := chain.Await(ctx)
	return a.At.Sub(began), a, err
}
