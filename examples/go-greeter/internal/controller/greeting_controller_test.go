// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	greeterv1 "go.greeter.dormouse.example/api/v1"
)

func setUp(t *testing.T) (*GreetingReconciler, client.ObjectKey) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := greeterv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	greeting := &greeterv1.Greeting{
		ObjectMeta: metav1.ObjectMeta{Name: "world", Namespace: "default", UID: "1", Generation: 1},
		Spec:       greeterv1.GreetingSpec{Name: "World"},
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(greeting).WithStatusSubresource(greeting).Build()
	return &GreetingReconciler{Client: c, Scheme: scheme, Recorder: events.NewFakeRecorder(10)}, client.ObjectKeyFromObject(greeting)
}

func reconcile(t *testing.T, r *GreetingReconciler, key client.ObjectKey) {
	t.Helper()
	if _, err := r.Reconcile(context.Background(), ctrl.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
}

func TestAGreetingGetsItsConfigMapAndStatus(t *testing.T) {
	r, key := setUp(t)
	reconcile(t, r, key)

	var greeting greeterv1.Greeting
	if err := r.Get(context.Background(), key, &greeting); err != nil {
		t.Fatal(err)
	}
	if greeting.Status.Message != "Hello, World!" || greeting.Status.ObservedGeneration != 1 ||
		!meta.IsStatusConditionTrue(greeting.Status.Conditions, greeterv1.ConditionReady) {
		t.Errorf("status is %+v", greeting.Status)
	}
	var configMap corev1.ConfigMap
	if err := r.Get(context.Background(), client.ObjectKey{Namespace: "default", Name: "world-greeting"}, &configMap); err != nil {
		t.Fatal(err)
	}
	if configMap.Data["greeting"] != "Hello, World!" || !metav1.IsControlledBy(&configMap, &greeting) {
		t.Errorf("ConfigMap is %+v", configMap)
	}
}

func TestASecondLookWritesNothing(t *testing.T) {
	r, key := setUp(t)
	reconcile(t, r, key)
	var before, after greeterv1.Greeting
	if err := r.Get(context.Background(), key, &before); err != nil {
		t.Fatal(err)
	}
	reconcile(t, r, key)
	if err := r.Get(context.Background(), key, &after); err != nil {
		t.Fatal(err)
	}
	if before.ResourceVersion != after.ResourceVersion {
		t.Errorf("resourceVersion went from %s to %s", before.ResourceVersion, after.ResourceVersion)
	}
}

func TestADeletedGreetingIsLetGo(t *testing.T) {
	r, key := setUp(t)
	reconcile(t, r, key)
	var greeting greeterv1.Greeting
	if err := r.Get(context.Background(), key, &greeting); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(context.Background(), &greeting); err != nil {
		t.Fatal(err)
	}
	if err := r.Get(context.Background(), key, &greeting); err != nil {
		t.Fatalf("the finalizer did not hold it: %v", err)
	}
	reconcile(t, r, key)
	if err := r.Get(context.Background(), key, &greeting); !apierrors.IsNotFound(err) {
		t.Errorf("after the farewell: %v", err)
	}
}
