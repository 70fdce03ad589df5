// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// greeter is what the tests know of one of the example operators; all three do the same, each in its ecosystem's way.
type greeter struct {
	language string
	suffix   string // Of the ConfigMap's name.
	key      string // In the ConfigMap.
	farewell string // The reason of the last Event.
	goodbye  string // How its note begins.
	args     []string
	files    []string // CRD and rights, below examples/.
}

var greeters = []greeter{
	{"rust", "", "greeting", "Left", "Good-bye", nil, []string{"rust-greeter/crd.yaml", "rust-greeter/rbac.yaml"}},
	{"go", "-greeting", "greeting", "Farewell", "Goodbye", []string{"--health-probe-bind-address=0"}, []string{
		"go-greeter/config/crd/bases/go.greeter.dormouse.example_greetings.yaml", "go-greeter/config/rbac/service_account.yaml",
		"go-greeter/config/rbac/role.yaml", "go-greeter/config/rbac/role_binding.yaml"}},
	{"cpp", "-greeting", "message", "Farewell", "Goodbye", nil, []string{"cpp-greeter/crd.yaml", "cpp-greeter/rbac.yaml"}},
}

// E2E_GREETERS ("rust,cpp") narrows them down, for runs by hand.
func init() {
	if chosen := os.Getenv("E2E_GREETERS"); chosen != "" {
		greeters = slices.DeleteFunc(greeters, func(g greeter) bool { return !slices.Contains(strings.Split(chosen, ","), g.language) })
	}
}

const examplesFolder = "../../examples"

func (g greeter) name() string  { return g.language + "-greeter" }
func (g greeter) group() string { return g.language + ".greeter.dormouse.example" }
func (g greeter) user() string  { return harness.ServiceAccountUser("default", g.name()) }
func (g greeter) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: g.group(), Version: "v1", Resource: "greetings"}
}

// apply applies its CRD and rights.
func (g greeter) apply(t testing.TB, c *harness.Cluster) {
	t.Helper()
	for _, file := range g.files {
		c.ApplyFile(t, "default", filepath.Join(examplesFolder, file))
	}
}

// operator is the greeter as either runtime runs it.
func (g greeter) operator(t testing.TB) harness.Operator {
	t.Helper()
	examples := wanted(t, "EXAMPLES")
	o := harness.Operator{
		Name: g.name(), Namespace: "default", ServiceAccount: g.name(), Args: g.args,
		Native: filepath.Join(examples, g.name()), Module: filepath.Join(examples, g.name()+".wasm"),
		MemoryLimit: "128Mi", Env: map[string]string{"POD_NAMESPACE": "default"},
	}
	if _, err := os.Stat(o.Module); err != nil {
		t.Fatalf("%v: scripts/examples builds it", err)
	}
	return o
}

// pods are the manifests of some greeters.
func pods(t testing.TB, chosen ...greeter) string {
	t.Helper()
	text := ""
	for _, g := range chosen {
		text += "---\n" + g.operator(t).Pod()
	}
	return text
}

func (g greeter) greeting(name, whom string) string {
	return fmt.Sprintf("{apiVersion: %s/v1, kind: Greeting, metadata: {name: %s}, spec: {name: %q}}", g.group(), name, whom)
}

// greeted tells whether the operator has answered the spec as it is now.
func greeted(whom string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		message, _, _ := unstructured.NestedString(o.Object, "status", "message")
		observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
		return message == "Hello, "+whom+"!" && observed == o.GetGeneration() && harness.HasCondition(o, "Ready", "True")
	}
}

// configMap is what the greeter's ConfigMap must hold.
func (g greeter) configMap(whom string) func(*unstructured.Unstructured) bool {
	return func(o *unstructured.Unstructured) bool {
		text, _, _ := unstructured.NestedString(o.Object, "data", g.key)
		return text == "Hello, "+whom+"!"
	}
}

// events are the notes of a Greeting's Events by reason.
func (g greeter) events(t testing.TB, c *harness.Cluster, namespace, name string) map[string][]string {
	t.Helper()
	list, err := c.Client.EventsV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	notes := map[string][]string{}
	for _, e := range list.Items {
		if e.Regarding.Name == name && e.Regarding.APIVersion == g.group()+"/v1" {
			notes[e.Reason] = append(notes[e.Reason], fmt.Sprintf("%s %s by %s: %s", e.Type, e.Action, e.ReportingController, e.Note))
		}
	}
	for _, reason := range slices.Collect(maps.Keys(notes)) {
		slices.Sort(notes[reason])
	}
	return notes
}

// state is an object without what differs from run to run: times, ids, versions.
func state(o *unstructured.Unstructured) string {
	o = o.DeepCopy()
	managers := map[string]bool{}
	for _, field := range o.GetManagedFields() {
		if field.Manager != "e2e" {
			managers[fmt.Sprintf("%s %s %s", field.Manager, field.Operation, field.Subresource)] = true
		}
	}
	o.SetManagedFields(nil)
	o.SetNamespace("")
	o.SetUID("")
	o.SetResourceVersion("")
	unstructured.RemoveNestedField(o.Object, "metadata", "creationTimestamp")
	text, err := o.MarshalJSON()
	if err != nil {
		return err.Error()
	}
	clean := regexp.MustCompile(`"(lastTransitionTime|uid)":"[^"]*"`).ReplaceAllString(string(text), `"$1":"…"`)
	return fmt.Sprintf("%s, managed by %v", clean, slices.Sorted(maps.Keys(managers)))
}

const (
	soon = 30 * time.Second // For one reconcile, on a loaded two-core machine.
	long = 90 * time.Second // For a start, or for what waits for a back-off of a client library.
)
