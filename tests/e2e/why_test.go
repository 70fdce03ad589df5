// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// wakes is what `dormouse why -o json` says.
type wakes struct {
	Containers []struct {
		Name        string
		Wakeups     map[string]uint64
		IdleWakeups uint64
		Offload     struct {
			MaxSleepSeconds                                float64
			Looks, Absorbed, Changed, Failed, SleptLongest uint64
		}
		Recent []struct {
			Cause, What, Text string
			Active, Over      bool
		}
	}
}

func (h *host) why(t testing.TB, pod string) wakes {
	t.Helper()
	out, err := exec.Command(wanted(t, "DORMOUSE"), "why", pod, "-o", "json", "--socket", h.socket).Output()
	if err != nil {
		t.Fatalf("dormouse why: %v %s", err, stderr(err))
	}
	var all wakes
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("dormouse why: %v in %s", err, out)
	}
	return all
}

// A guest that looks at a ConfigMap five times a second, and one like it with poll offloading, see the same and write the
// same; the latter is spared at least 95 % of its wake-ups while nothing changes, and is woken at once when something does.
func TestAnOffloadedPollerDoesTheSameAndSleeps(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: poller}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: letter}
data: {text: one}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: plain}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: offloaded}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: poller}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, patch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: poller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: poller}
subjects: [{kind: ServiceAccount, name: poller}]
`)
	const period = 200 * time.Millisecond
	var pods strings.Builder
	for name, annotations := range map[string]string{"plain": "{}", "offloaded": `{dormouse.io/poll-offload: "max-sleep=20s"}`} {
		fmt.Fprintf(&pods, `
---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, annotations: %s}
spec:
  serviceAccountName: poller
  containers:
  - {name: main, image: %s, args: ["%d", /api/v1/namespaces/%s/configmaps/letter, /api/v1/namespaces/%s/configmaps/%s]}
`, name, ns, annotations, guest(t, "poller"), period.Milliseconds(), ns, ns, name)
	}
	audit := c.Audit(t)
	h := startHost(t, c, pods.String(), hostOptions{})

	agree := func(want string, within time.Duration) {
		t.Helper()
		for _, name := range []string{"plain", "offloaded"} {
			c.Await(t, configMaps, ns, name, within, func(object *unstructured.Unstructured) bool {
				saw, _, _ := unstructured.NestedString(object.Object, "data", "saw")
				return saw == want
			})
		}
	}
	agree("200 one", long)

	// Long enough asleep that its sleeps have grown to the longest.
	absorbed := func() (looks, own uint64) {
		w := h.why(t, ns+"/offloaded").Containers[0]
		return w.Offload.Absorbed, w.Wakeups["timer"]
	}
	eventually(t, 3*time.Minute, func() string {
		if n := h.why(t, ns+"/offloaded").Containers[0].Offload.SleptLongest; n < 9 {
			return fmt.Sprintf("%d sleeps have come to their end", n)
		}
		return ""
	})
	looksBefore, ownBefore := absorbed()
	eventually(t, 3*time.Minute, func() string {
		if looks, _ := absorbed(); looks < looksBefore+200 {
			return fmt.Sprintf("%d looks were absorbed", looks-looksBefore)
		}
		return ""
	})
	looks, own := absorbed()
	share := float64(looks-looksBefore) / float64(looks-looksBefore+own-ownBefore)
	t.Logf("%d looks done by the host, %d by the guest: %.1f %% absorbed", looks-looksBefore, own-ownBefore, 100*share)
	if share < 0.95 {
		t.Errorf("only %.1f %% of the wake-ups were absorbed", 100*share)
	}
	if n := h.why(t, ns+"/plain").Containers[0].Offload; n.Looks != 0 || n.MaxSleepSeconds != 0 {
		t.Errorf("the guest without the annotation was stood in for: %+v", n)
	}

	// News wakes it within a look or two, not at the end of its sleep.
	for _, text := range []string{"two", "three"} {
		c.Patch(t, configMaps, ns, "letter", fmt.Sprintf(`{"data":{"text":%q}}`, text))
		agree("200 "+text, 10*time.Second)
	}
	c.Delete(t, configMaps, ns, "letter")
	agree("404 none", 10*time.Second)

	// The host asked as the guest, with the guest's own rights.
	user := harness.ServiceAccountUser(ns, "poller")
	audit.Await(t, harness.Filter{User: user, Verb: "get", Resource: "configmaps", Namespace: ns, Name: "letter", Code: 200}, 200, soon)
	if table, err := exec.Command(wanted(t, "DORMOUSE"), "why", "offloaded", "--socket", h.socket).Output(); err != nil || !strings.Contains(string(table), "wake-ups spared") {
		t.Errorf("dormouse why prints %s, %v", table, err)
	}
}

// Each wake-up has a cause that a user understands.
func TestWhyNamesWhatWokeAGuest(t *testing.T) {
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(
		fixture{name: "ticks", namespace: "default", module: guest(t, "tick"), args: []string{"100"}},
		fixture{name: "asks", namespace: "default", module: guest(t, "kube_get"), restart: "Never"},
	), hostOptions{})
	h.AwaitLine(t, `guest ended.*default/asks`, long)
	asks := h.why(t, "default/asks").Containers[0]
	// It may have awaited the connection before.
	if n := len(asks.Recent); n == 0 || asks.Recent[n-1].Cause != "answer" || asks.Recent[n-1].Text != "answer to get /version" || !asks.Recent[n-1].Active {
		t.Errorf("a guest that awaited an answer woke because of %+v", asks.Recent)
	}
	eventually(t, long, func() string {
		if ticks := h.why(t, "ticks").Containers[0]; ticks.Wakeups["timer"] < 3 || ticks.IdleWakeups < 3 || ticks.Recent[0].Text != "timer" {
			return fmt.Sprintf("a guest that only ticks shows %+v", ticks)
		}
		return ""
	})
	out, err := exec.Command(wanted(t, "DORMOUSE"), "why", "nobody", "--socket", h.socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), `no pod "nobody" runs here`) {
		t.Errorf("dormouse why of no pod says %s, %v", out, err)
	}
}
