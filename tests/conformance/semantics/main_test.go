// SPDX-License-Identifier: Apache-2.0

// Package semantics claims what Kubernetes promises of GET, LIST and WATCH, and tests each claim twice: on the API
// server and through `dormouse proxy`. A claim was first seen to hold directly; it is the API server that is right.
package semantics

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	"dormouse.dev/e2e/harness"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Without controllers nothing happens in a namespace but what a test does.
func TestMain(m *testing.M) {
	harness.Main(m, "--with", "apiserver", "--no-wait-sa", "--apiserver-arg=--disable-admission-plugins=ServiceAccount")
}

// Long enough for a loaded machine; a claim that holds is done in a fraction of it.
const soon = 30 * time.Second

// place is one namespace as one target's claims use it: changes go to the API server, reads through the target.
type place struct {
	*target.Pair
	t  *testing.T
	ns string
}

func newPlace(t *testing.T, p *target.Pair) place { return place{p, t, p.Namespace(t)} }

// path is the namespace's ConfigMaps, with a query.
func (p place) path(query string) string {
	return "/api/v1/namespaces/" + p.ns + "/configmaps?" + query
}

func (p place) must(cm *corev1.ConfigMap, err error) *corev1.ConfigMap {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	return cm
}

func (p place) create(name string, labels map[string]string) *corev1.ConfigMap {
	p.t.Helper()
	return p.must(p.Cluster.Client.CoreV1().ConfigMaps(p.ns).Create(p.t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}))
}

func (p place) patch(name, patch string) *corev1.ConfigMap {
	p.t.Helper()
	return p.must(p.Cluster.Client.CoreV1().ConfigMaps(p.ns).Patch(p.t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}))
}

// touch changes an object's data.
func (p place) touch(name, value string) *corev1.ConfigMap {
	p.t.Helper()
	return p.patch(name, fmt.Sprintf(`{"data":{"value":%q}}`, value))
}

func (p place) label(name, key, value string) *corev1.ConfigMap {
	p.t.Helper()
	return p.patch(name, fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, key, value))
}

func (p place) delete(name string) {
	p.t.Helper()
	if err := p.Cluster.Client.CoreV1().ConfigMaps(p.ns).Delete(p.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func number(t *testing.T, revision string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		t.Fatalf("resourceVersion %q is no number", revision)
	}
	return n
}
