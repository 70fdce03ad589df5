// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	greeterv1 "go.greeter.dormouse.example/api/v1"
)

const (
	finalizer  = "go.greeter.dormouse.example/farewell"
	fieldOwner = client.FieldOwner("go-greeter")
)

// GreetingReconciler keeps a ConfigMap with the greeting of each Greeting.
type GreetingReconciler struct {
	client.Client
	Scheme   *runtime.Scheme
	Recorder events.EventRecorder
}

// +kubebuilder:rbac:groups=go.greeter.dormouse.example,resources=greetings,verbs=get;list;watch;update;patch
// +kubebuilder:rbac:groups=go.greeter.dormouse.example,resources=greetings/status,verbs=get;update;patch
// +kubebuilder:rbac:groups=go.greeter.dormouse.example,resources=greetings/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile brings the ConfigMap and the status in line with the spec.
func (r *GreetingReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	log := logf.FromContext(ctx)

	var greeting greeterv1.Greeting
	if err := r.Get(ctx, req.NamespacedName, &greeting); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}

	if !greeting.DeletionTimestamp.IsZero() {
		if controllerutil.RemoveFinalizer(&greeting, finalizer) {
			r.Recorder.Eventf(&greeting, nil, corev1.EventTypeNormal, "Farewell", "Delete", "Goodbye, %s!", greeting.Spec.Name)
			log.Info("farewell", "whom", greeting.Spec.Name)
			return ctrl.Result{}, client.IgnoreNotFound(r.Update(ctx, &greeting))
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(&greeting, finalizer) {
		if err := r.Update(ctx, &greeting); err != nil {
			return ctrl.Result{}, err
		}
	}

	message := fmt.Sprintf("Hello, %s!", greeting.Spec.Name)
	if err := r.applyConfigMap(ctx, &greeting, message); err != nil {
		return ctrl.Result{}, err
	}

	before := greeting.Status.DeepCopy()
	greeting.Status.Message = message
	greeting.Status.ObservedGeneration = greeting.Generation
	meta.SetStatusCondition(&greeting.Status.Conditions, metav1.Condition{
		Type:               greeterv1.ConditionReady,
		Status:             metav1.ConditionTrue,
		Reason:             "Greeted",
		Message:            "The greeting is in ConfigMap " + greeting.Name + "-greeting.",
		ObservedGeneration: greeting.Generation,
	})
	if equality.Semantic.DeepEqual(before, &greeting.Status) {
		return ctrl.Result{}, nil
	}
	if err := r.Status().Update(ctx, &greeting); err != nil {
		return ctrl.Result{}, err
	}
	r.Recorder.Eventf(&greeting, nil, corev1.EventTypeNormal, "Greeted", "Greet", "%s", message)
	log.Info("greeted", "message", message, "generation", greeting.Generation)
	return ctrl.Result{}, nil
}

// applyConfigMap puts the message into the Greeting's ConfigMap by server-side apply.
func (r *GreetingReconciler) applyConfigMap(ctx context.Context, greeting *greeterv1.Greeting, message string) error {
	owner := metav1ac.OwnerReference().
		WithAPIVersion(greeterv1.GroupVersion.String()).
		WithKind("Greeting").
		WithName(greeting.Name).
		WithUID(greeting.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
	configMap := corev1ac.ConfigMap(greeting.Name+"-greeting", greeting.Namespace).
		WithOwnerReferences(owner).
		WithData(map[string]string{"greeting": message})
	return r.Apply(ctx, configMap, fieldOwner, client.ForceOwnership)
}

// SetupWithManager makes the manager run this reconciler.
func (r *GreetingReconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&greeterv1.Greeting{}).
		Owns(&corev1.ConfigMap{}).
		Named("greeting").
		Complete(r)
}
