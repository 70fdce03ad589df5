// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd/api"
	watchtools "k8s.io/client-go/tools/watch"
)

func tokenRequest() *authenticationv1.TokenRequest {
	seconds := int64(3600)
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
}

func tokenKubeconfig(admin *rest.Config, namespace, token string) api.Config {
	const name = "testcluster"
	return api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: admin.Host, CertificateAuthorityData: admin.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name, Namespace: namespace}},
		CurrentContext: name,
	}
}

// Apply applies YAML (several documents) as the administrator. Namespaced objects without a namespace get
// `namespace`. A CustomResourceDefinition is waited for, so that its objects may follow in the same text.
func (c *Cluster) Apply(t testing.TB, namespace, text string) {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("applying: %v\n%s", err, text)
		}
		if len(object.Object) == 0 {
			continue
		}
		c.ApplyObject(t, namespace, object)
	}
}

// ApplyFile is Apply of a file.
func (c *Cluster) ApplyFile(t testing.TB, namespace, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, namespace, string(content))
}

// ApplyObject is Apply of one object.
func (c *Cluster) ApplyObject(t testing.TB, namespace string, object *unstructured.Unstructured) {
	t.Helper()
	kind := object.GroupVersionKind()
	resource, namespaced, err := c.resource(kind)
	if err != nil {
		t.Fatal(err)
	}
	if !namespaced {
		namespace = ""
	} else if object.GetNamespace() != "" {
		namespace = object.GetNamespace()
	}
	if _, err := c.in(resource, namespace).Apply(t.Context(), object.GetName(), object, metav1.ApplyOptions{FieldManager: "e2e", Force: true}); err != nil {
		t.Fatalf("applying %s %s: %v", kind.Kind, object.GetName(), err)
	}
	if kind.Kind == "CustomResourceDefinition" {
		c.Await(t, resource, "", object.GetName(), time.Minute, func(crd *unstructured.Unstructured) bool {
			return HasCondition(crd, "Established", "True")
		})
		c.mapper.Reset()
	}
}

// resource finds the REST resource of a kind; a kind that is new to us is looked for afresh.
func (c *Cluster) resource(kind schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return schema.GroupVersionResource{}, false, fmt.Errorf("%v: %w", kind, err)
	}
	return mapping.Resource, mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

func (c *Cluster) in(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.Dynamic.Resource(resource)
	}
	return c.Dynamic.Resource(resource).Namespace(namespace)
}

// HasCondition tells whether status.conditions holds this type with this status.
func HasCondition(object *unstructured.Unstructured, kind, status string) bool {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, condition := range conditions {
		if m, ok := condition.(map[string]any); ok && m["type"] == kind && m["status"] == status {
			return true
		}
	}
	return false
}

// Await watches one object until it exists and is as wanted (nil: exists), and returns it. It outlives a restart
// of the API server. It fails the test, and shows the object, when the time is up.
func (c *Cluster) Await(t testing.TB, resource schema.GroupVersionResource, namespace, name string, within time.Duration, wanted func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var last *unstructured.Unstructured
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := c.Observe(ctx, resource, namespace, name, func(object *unstructured.Unstructured) bool {
		last = object
		return object != nil && (wanted == nil || wanted(object))
	})
	if err != nil {
		t.Fatalf("%s %s/%s is not as wanted within %v (%v); it is %s", resource.Resource, namespace, name, within, err, show(last))
	}
	return last
}

// AwaitGone watches until there is no such object.
func (c *Cluster) AwaitGone(t testing.TB, resource schema.GroupVersionResource, namespace, name string, within time.Duration) {
	t.Helper()
	var last *unstructured.Unstructured
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err := c.Observe(ctx, resource, namespace, name, func(object *unstructured.Unstructured) bool {
		last = object
		return object == nil
	})
	if err != nil {
		t.Fatalf("%s %s/%s is still there after %v (%v): %s", resource.Resource, namespace, name, within, err, show(last))
	}
}

// Observe calls done with each state of an object that the watch shows, nil when it is not there, until done says
// true. For a goroutine beside the test, where Await may not be used.
func (c *Cluster) Observe(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, done func(*unstructured.Unstructured) bool) error {
	client := c.in(resource, namespace)
	choose := func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + name }
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			choose(&o)
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			choose(&o)
			return client.Watch(ctx, o)
		},
	}
	atStart := func(store cache.Store) (bool, error) {
		return len(store.List()) == 0 && done(nil), nil
	}
	_, err := watchtools.UntilWithSync(ctx, source, &unstructured.Unstructured{}, atStart, func(event watch.Event) (bool, error) {
		object, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return false, fmt.Errorf("the watch ended with %v", event.Object)
		}
		if event.Type == watch.Deleted {
			object = nil
		}
		return done(object), nil
	})
	return err
}

func show(object *unstructured.Unstructured) string {
	if object == nil {
		return "not there"
	}
	object = object.DeepCopy()
	object.SetManagedFields(nil)
	text, err := object.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Patch merges JSON into an object as the administrator.
func (c *Cluster) Patch(t testing.TB, resource schema.GroupVersionResource, namespace, name, merge string, subresources ...string) {
	t.Helper()
	if _, err := c.in(resource, namespace).Patch(t.Context(), name, types.MergePatchType, []byte(merge), metav1.PatchOptions{FieldManager: "e2e"}, subresources...); err != nil {
		t.Fatalf("patching %s %s/%s: %v", resource.Resource, namespace, name, err)
	}
}

// Delete deletes an object as the administrator; it does not wait until it is gone.
func (c *Cluster) Delete(t testing.TB, resource schema.GroupVersionResource, namespace, name string) {
	t.Helper()
	if err := c.in(resource, namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("deleting %s %s/%s: %v", resource.Resource, namespace, name, err)
	}
}
