// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func TestAPodManifestSaysExactlyWhatTheOperatorIs(t *testing.T) {
	hostile := "a: [b] # \"c\"\n'd' \t{e}: yes é \\"
	o := Operator{
		Name: "greeter", Namespace: "123", ServiceAccount: "true", Module: "/some where/greeter.wasm",
		Args: []string{"--flag=1", hostile}, Env: map[string]string{"A": hostile, "B": "no", "C": ""},
		Annotations: map[string]string{"dormouse.io/allow-egress": hostile}, MemoryLimit: "64Mi",
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(o.Pod()), &pod); err != nil {
		t.Fatalf("%v\n%s", err, o.Pod())
	}
	container := pod.Spec.Containers[0]
	env := map[string]string{}
	for _, variable := range container.Env {
		env[variable.Name] = variable.Value
	}
	got := Operator{
		Name: pod.Name, Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName, Module: container.Image,
		Args: container.Args, Env: env, Annotations: pod.Annotations, MemoryLimit: container.Resources.Limits.Memory().String(),
	}
	if !reflect.DeepEqual(got, o) {
		t.Errorf("the manifest says %+v\nof %+v", got, o)
	}
}

func TestAnEmptyFilterShowsEachRequestOnce(t *testing.T) {
	stages := []Event{{Verb: "get", Stage: "ResponseComplete"}, {Verb: "watch", Stage: "ResponseStarted"}, {Verb: "get", Stage: "Panic"}}
	for i, want := range []bool{true, true, false} {
		if got := (Filter{}).matches(stages[i]); got != want {
			t.Errorf("%+v: %v", stages[i], got)
		}
	}
	if (Filter{Code: 200}).matches(stages[0]) || (Filter{Subresource: "status"}).matches(stages[0]) || !(Filter{Subresource: "-"}).matches(stages[0]) {
		t.Error("code or subresource is not looked at")
	}
}
