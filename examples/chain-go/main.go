// SPDX-License-Identifier: Apache-2.0

// Operator number CHAIN_INDEX of CHAIN_LENGTH: each object of kind Link<i> is written on, under the same name, as
// Link<i+1>, with its spec and one more hop. The last operator writes Link<n>, which nobody watches.
//
// Each operator notes in an annotation when it saw the object, so the last object tells the whole journey.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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

func number(name string) (int, error) {
	n, err := strconv.Atoi(os.Getenv(name))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s must be a number, but is '%s'", name, os.Getenv(name))
	}
	return n, nil
}

func run() error {
	index, err := number("CHAIN_INDEX")
	if err != nil {
		return err
	}
	length, err := number("CHAIN_LENGTH")
	if err != nil {
		return err
	}
	if index >= length {
		return errors.New("CHAIN_INDEX must be below CHAIN_LENGTH")
	}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("link").
		// Objects are passed on for their spec: a write of annotations alone is no news.
		For(link(index), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(&reconciler{Client: mgr.GetClient(), index: index})
	if err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(); err != nil {
		ctrl.Log.Error(err, "the operator failed")
		os.Exit(1)
	}
}
