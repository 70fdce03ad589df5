// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const podNamespace = "bench-pods"

// pod is one of a Deployment of a service mesh: three containers with probes, environment and volumes, and a status that
// a kubelet has written. With the managedFields of its writers it is about the 14.5 kB of JSON that findings call typical.
func pod(i int) *corev1.Pod {
	app := fmt.Sprintf("service-%02d", i%40)
	env := func(n int) (all []corev1.EnvVar) {
		for k := range n {
			all = append(all, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%02d", k), Value: fmt.Sprintf("https://%s.example.com:8443/api/v%d", app, k)})
		}
		return append(all, corev1.EnvVar{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}})
	}
	container := func(name string, settings int) corev1.Container {
		return corev1.Container{
			Name: name, Image: "registry.example.com/team/" + name + "@sha256:0f3c6a1f7c1d4be9a1c1a31e5f3a8be1d2b7f0f6c4a0d9f2a6e4f6d0b3c5e7a9", ImagePullPolicy: corev1.PullIfNotPresent,
			Args: []string{"--log-format=json", "--listen=:8443", "--upstream=" + app}, Env: env(settings),
			Ports:          []corev1.ContainerPort{{Name: "https", ContainerPort: 8443}, {Name: "metrics", ContainerPort: 9090}},
			Resources:      corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("50m"), "memory": resource.MustParse("64Mi")}, Limits: corev1.ResourceList{"memory": resource.MustParse("256Mi")}},
			LivenessProbe:  &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intOrString(8443)}}, PeriodSeconds: 10},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intOrString(8443)}}, PeriodSeconds: 5},
			VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/config"}, {Name: "tls", MountPath: "/etc/tls", ReadOnly: true}, {Name: "tmp", MountPath: "/tmp"}},
		}
	}
	init := container("init", 4)
	init.LivenessProbe, init.ReadinessProbe = nil, nil
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%05d", app, i), Namespace: podNamespace,
			Labels:      map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/version": "1.27.3", "app.kubernetes.io/managed-by": "Helm", "pod-template-hash": "6d4cf56db6"},
			Annotations: map[string]string{"checksum/config": "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", "prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
		},
		Spec: corev1.PodSpec{
			SchedulerName: "none", ServiceAccountName: "default", TerminationGracePeriodSeconds: new(int64(0)), NodeSelector: map[string]string{"bench": "none"},
			InitContainers: []corev1.Container{init},
			Containers:     []corev1.Container{container("app", 12), container("proxy", 10)},
			Volumes: []corev1.Volume{
				{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: app}}}},
				{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: app + "-tls"}}},
				{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
			Tolerations: []corev1.Toleration{{Key: "team", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}},
		},
	}
}

func status(i int) []byte {
	now := metav1.Now()
	condition := func(kind corev1.PodConditionType) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now}
	}
	container := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, Ready: true, Started: new(true), Image: "registry.example.com/team/" + name, ImageID: "registry.example.com/team/" + name + "@sha256:0f3c6a1f7c1d4be9a1c1a31e5f3a8be1d2b7f0f6c4a0d9f2a6e4f6d0b3c5e7a9",
			ContainerID: fmt.Sprintf("containerd://%064d", i), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}}
	}
	text, _ := json.Marshal(map[string]any{"status": corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "10.0.0.1", PodIP: fmt.Sprintf("10.%d.%d.%d", 1+i/65536, i/256%256, i%256), StartTime: &now,
		Conditions:        []corev1.PodCondition{condition(corev1.PodInitialized), condition(corev1.PodReady), condition(corev1.ContainersReady), condition(corev1.PodScheduled)},
		ContainerStatuses: []corev1.ContainerStatus{container("app"), container("proxy")},
	}})
	return text
}

// makePods creates them and writes their status, several at a time.
func makePods(t *testing.T, c *harness.Cluster, count int) {
	t.Helper()
	began := time.Now()
	config := rest.CopyConfig(c.Config)
	config.QPS, config.Burst = -1, 0
	client := kubernetes.NewForConfigOrDie(config)
	c.Apply(t, "", "{apiVersion: v1, kind: Namespace, metadata: {name: "+podNamespace+"}}")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	for { // The default ServiceAccount comes a moment after the namespace.
		if _, err := client.CoreV1().ServiceAccounts(podNamespace).Get(ctx, "default", metav1.GetOptions{}); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	failures := make(chan error, 16)
	for range cap(failures) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				p, err := client.CoreV1().Pods(podNamespace).Create(ctx, pod(i), metav1.CreateOptions{FieldManager: "kube-controller-manager"})
				if err == nil {
					_, err = client.CoreV1().Pods(podNamespace).Patch(ctx, p.Name, "application/strategic-merge-patch+json", status(i), metav1.PatchOptions{FieldManager: "kubelet"}, "status")
				}
				if err != nil {
					failures <- err
					return
				}
				if i%2000 == 1999 {
					measure.Say("%d pods of %d after %.0f s", i+1, count, time.Since(began).Seconds())
				}
			}
		})
	}
	workers.Wait()
	close(failures)
	if err := <-failures; err != nil {
		t.Fatal(err)
	}
}

// podJSON is what the API server holds, as JSON: each pod alone, for the average and for the in-process part.
func podJSON(t *testing.T, c *harness.Cluster) (list []byte, averageBytes float64) {
	t.Helper()
	list, err := c.Client.CoreV1().RESTClient().Get().Namespace(podNamespace).Resource("pods").SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var decoded struct{ Items []json.RawMessage }
	if err := json.NewDecoder(bytes.NewReader(list)).Decode(&decoded); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, item := range decoded.Items {
		sum += len(item)
	}
	return list, float64(sum) / float64(len(decoded.Items))
}
