// SPDX-License-Identifier: Apache-2.0

// All operators of a chain that CHAIN_INDEXES (such as "0,1,5") names, as managers of one process: what an author does
// who joins operators by hand. Each does what examples/chain-go does.
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const group = "chain.dormouse.example"

func link(index int) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: fmt.Sprintf("Link%d", index)})
	return object
}

type reconciler struct {
	client.Client
	index int
}

func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	seen := time.Now().UTC().Format(time.RFC3339Nano)
	object := link(r.index)
	if err := r.Get(ctx, req.NamespacedName, object); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if object.GetDeletionTimestamp() != nil {
		return ctrl.Result{}, nil
	}

	spec, _, err := unstructured.NestedMap(object.Object, "spec")
	if err != nil || spec == nil {
		spec = map[string]any{}
	}
	hop, _ := spec["hop"].(int64)
	spec["hop"] = hop + 1
	annotations := map[string]string{fmt.Sprintf("%s/seen-%d", group, r.index): seen}
	for key, value := range object.GetAnnotations() {
		if strings.HasPrefix(key, group+"/") && annotations[key] == "" {
			annotations[key] = value
		}
	}

	next := link(r.index + 1)
	next.SetName(object.GetName())
	next.SetNamespace(object.GetNamespace())
	next.SetAnnotations(annotations)
	next.Object["spec"] = spec
	owner := client.FieldOwner(fmt.Sprintf("chain-%d", r.index))
	if err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(next), owner, client.ForceOwnership); err != nil {
		return ctrl.Result{}, err
	}
	logf.FromContext(ctx).Info("passed on", "hop", hop+1)
	return ctrl.Result{}, nil
}

func run() error {
	ctx := ctrl.SetupSignalHandler()
	config := ctrl.GetConfigOrDie()
	var managers sync.WaitGroup
	failures := make(chan error, 1024)
	for _, text := range strings.Split(os.Getenv("CHAIN_INDEXES"), ",") {
		index, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("CHAIN_INDEXES: '%s' is not a number", text)
		}
		mgr, err := ctrl.NewManager(config, ctrl.Options{Metrics: metricsserver.Options{BindAddress: "0"}})
		if err != nil {
			return err
		}
		err = ctrl.NewControllerManagedBy(mgr).
			Named(fmt.Sprintf("link%d", index)).
			For(link(index), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
			Complete(&reconciler{Client: mgr.GetClient(), index: index})
		if err != nil {
			return err
		}
		managers.Go(func() {
			if err := mgr.Start(ctx); err != nil {
				failures <- err
			}
		})
	}
	managers.Wait()
	close(failures)
	return <-failures
}

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(); err != nil {
		ctrl.Log.Error(err, "the operator failed")
		os.Exit(1)
	}
}
