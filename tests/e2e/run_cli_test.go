// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// refuse runs `dormouse run -f` with a manifest that must not be taken, and yields what was said.
func refuse(t *testing.T, c *harness.Cluster, manifest string, args ...string) outcome {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(path, []byte(manifest), 0o644); err != nil {
		t.Fatal(err)
	}
	return dormouseWith(t, []string{"KUBECONFIG=" + c.Kubeconfig}, append([]string{"run", "--log-level", "error", "--socket", filepath.Join(shortDir(t), "s"), "-f", path}, args...)...)
}

func TestABadManifestIsRefusedWithItsLine(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	pod := func(more string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - name: c\n    image: x.wasm\n" + more
	}
	bomb := "    a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'l'; i++ {
		bomb += fmt.Sprintf("    %c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	for _, bad := range []struct {
		what, manifest string
		words          []string
	}{
		{"not YAML", "apiVersion: v1\nkind: [Pod\n", []string{"bad.yaml:"}},
		{"a misspelt field", pod("    arg: [a]\n"), []string{"bad.yaml:8", "arg", "did you mean", "args"}},
		{"a kind that is no pod", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", []string{"bad.yaml:", "Service"}},
		{"a wrong quantity", pod("    resources: {limits: {memory: lots}}\n"), []string{"bad.yaml:8", "lots"}},
		{"nesting without end", strings.Repeat("[", 100_000), []string{"bad.yaml"}},
		{"nothing", "", []string{"no pod"}},
	} {
		t.Run(bad.what, func(t *testing.T) {
			began := time.Now()
			oneComplaint(t, refuse(t, c, bad.manifest), bad.words...)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	// Nine to the eleventh strings, were it unfolded; each line of it is a complaint of its own.
	began := time.Now()
	o := refuse(t, c, strings.Replace(pod(""), "{name: x}", "\n  name: x\n  annotations:\n"+bomb, 1))
	if o.code != 1 || !strings.Contains(o.stderr, "annotations.k must be a string") || len(o.stderr) > 8192 || time.Since(began) > 20*time.Second {
		t.Errorf("a bomb of aliases: exit code %d, %v, %d bytes of complaints", o.code, time.Since(began), len(o.stderr))
	}
	oneComplaint(t, dormouseWith(t, []string{"KUBECONFIG=" + c.Kubeconfig}, "run", "--log-level", "error", "-f", "/no/such.yaml"), "/no/such.yaml")
}

func TestAKubeconfigThatCannotBeUsedIsRefused(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	pod := fixture{name: "x", namespace: "default", module: guest(t, "idle")}.String()
	config := func(user string) string {
		path := filepath.Join(t.TempDir(), "config")
		text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]\nusers: [{name: u, user: %s}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", c.Server, c.CA, user)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	oneComplaint(t, refuse(t, c, pod, "--kubeconfig", "/no/such/config"), "/no/such/config")
	oneComplaint(t, refuse(t, c, pod, "--context", "elsewhere"), "elsewhere")

	// An exec plug-in is asked when somebody needs it; its own words come along.
	for _, plugin := range []struct{ user, word string }{
		{`{exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh, args: [-c, "echo please log in >&2; exit 3"], interactiveMode: Never}}`, "please log in"},
		{`{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}}`, "no-such-plugin"},
	} {
		h := startHost(t, c, fixture{name: "x", namespace: "default", module: guest(t, "kube_get"), restart: "Never"}.String(), hostOptions{kubeconfig: config(plugin.user)})
		h.AwaitLine(t, `^[WE] .*`+plugin.word, soon)
		if n := h.count(`^[WE] .*` + plugin.word); n != 1 {
			t.Errorf("%q is said %d times", plugin.word, n)
		}
	}
}

// What cannot run is told; the others run.
func TestAPodThatCannotStartHarmsNoOther(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	broken := filepath.Join(t.TempDir(), "broken.wasm")
	if err := os.WriteFile(broken, []byte("\x00asm\x01\x00\x00\x00\x01"), 0o644); err != nil {
		t.Fatal(err)
	}
	h := startHost(t, c, manifest(
		fixture{name: "broken", namespace: "default", module: broken},
		fixture{name: "fine", namespace: "default", module: guest(t, "idle")},
	), hostOptions{})
	h.AwaitLine(t, `fine \| idle`, soon)
	h.AwaitLine(t, `^E .*cannot start.*default/broken.*broken\.wasm`, soon)
	all := h.ps(t)
	if all["fine"].State != "Running" || all["broken"].State != "Waiting" || all["broken"].LastTermination == nil {
		t.Errorf("%+v", all)
	}
	code, body := h.get(t, "/readyz")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "broken") || strings.Contains(body, "fine") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code, body := h.get(t, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, _ := h.get(t, "/secrets"); code != http.StatusNotFound {
		t.Errorf("/secrets: %d", code)
	}

	// Where nothing can run at all, the host ends.
	o := refuse(t, c, fixture{name: "broken", namespace: "default", module: broken}.String())
	if o.code != 1 || !strings.Contains(o.stderr, "broken.wasm") {
		t.Errorf("%+v", o)
	}
}

func TestTheHostShowsItsGuests(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(
		fixture{name: "idle", namespace: "default", module: guest(t, "idle"), memory: "16Mi"},
		fixture{name: "done", namespace: "default", module: guest(t, "exit_code"), args: []string{"0"}, restart: "Never"},
	), hostOptions{})
	h.AwaitLine(t, `idle \| idle`, soon)
	h.AwaitLine(t, `guest ended.*default/done`, soon)
	table, err := exec.Command(wanted(t, "DORMOUSE"), "ps", "--socket", h.socket).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NAMESPACE") || !strings.Contains(string(table), "Completed") || !strings.Contains(string(table), "16.0Mi") {
		t.Errorf("dormouse ps:\n%s", table)
	}
	all := h.ps(t)
	idle := all["idle"]
	if idle.State != "Running" || idle.StartedAt < float64(time.Now().Add(-5*time.Minute).Unix()) || idle.MemoryLimitBytes != 16<<20 || idle.MemoryBytes == 0 ||
		idle.MemoryBytes > 1<<20 || !strings.HasPrefix(idle.Digest, "sha256:") {
		t.Errorf("%+v", idle)
	}
	if done := all["done"]; done.State != "Terminated" || done.Reason != "Completed" {
		t.Errorf("%+v", done)
	}
	metrics := h.metrics(t)
	if metrics[`dormouse_guest_running{namespace="default",pod="idle",container="main"}`] != 1 || metrics[`dormouse_guest_running{namespace="default",pod="done",container="main"}`] != 0 {
		t.Errorf("%v", metrics)
	}
	if code, _ := h.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d, though one runs and one has done its work", code)
	}
	info, err := os.Stat(h.socket)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket: %v %v", info, err)
	}
}

func TestALogForMachinesIsJSONLineByLine(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(
		fixture{name: "echo", namespace: "default", module: guest(t, "echo"), args: []string{"tab\there \"quoted\" \x1b[2J"}, restart: "Never"},
		fixture{name: "trap", namespace: "default", module: guest(t, "trap"), args: []string{"divide-by-zero"}, restart: "Never"},
	), hostOptions{args: []string{"--log-format", "json"}})
	h.AwaitExit(t, long)
	echoed := false
	for _, line := range h.Lines() {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line.Text), &fields); err != nil {
			t.Errorf("%v: %s", err, line.Text)
		}
		if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["time"])); err != nil {
			t.Errorf("%v: %s", err, line.Text)
		}
		echoed = echoed || fields["guest"] == "default/echo" && fields["line"] == "arg 1 tab\there \"quoted\" \x1b[2J"
	}
	if !echoed {
		t.Errorf("no line of the guest:\n%s", h.Output())
	}
}

func TestSIGTERMReachesEachGuestAndItsGracePeriodIsKept(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(
		fixture{name: "polite", namespace: "default", module: guest(t, "signals")},
		fixture{name: "deaf", namespace: "default", module: guest(t, "idle")},
		fixture{name: "stubborn", namespace: "default", module: guest(t, "ignore_sigterm"), grace: 1},
	), hostOptions{})
	h.AwaitLine(t, `polite \| ready`, soon)
	h.AwaitLine(t, `stubborn \| ready`, soon)
	h.AwaitLine(t, `deaf \| idle`, soon)
	h.Signal(syscall.SIGTERM)
	h.AwaitLine(t, `polite \| signal 15`, soon)
	h.AwaitLine(t, `guest ended.*default/polite.*exit_code=0`, soon)
	h.AwaitLine(t, `stubborn \| ignored 15`, soon)
	h.AwaitLine(t, `grace period over.*default/stubborn`, soon)
	if code := h.AwaitExit(t, soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := h.count(`grace period over`); n != 1 {
		t.Errorf("%d guests were killed", n)
	}
}

func TestAReloadTouchesOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	stay := fixture{name: "stay", namespace: "default", module: guest(t, "idle")}
	change := fixture{name: "change", namespace: "default", module: guest(t, "idle")}
	leave := fixture{name: "leave", namespace: "default", module: guest(t, "signals")}
	h := startHost(t, c, manifest(stay, change, leave), hostOptions{})
	h.awaitCount(t, `\| (idle|ready)`, 3, soon)
	before := h.ps(t)

	change.args = []string{"7200"}
	h.reload(t, manifest(stay, change, fixture{name: "come", namespace: "default", module: guest(t, "idle")}))
	h.AwaitLine(t, `reloaded added=1 replaced=1 removed=1 unchanged=1`, soon)
	h.AwaitLine(t, `leave \| signal 15`, soon)
	h.AwaitLine(t, `come \| idle`, soon)
	h.awaitCount(t, `change \| idle`, 2, soon)
	h.AwaitLine(t, `guest ended.*default/leave`, soon)
	after := h.ps(t)
	if len(after) != 3 || after["stay"].StartedAt != before["stay"].StartedAt || after["change"].StartedAt <= before["change"].StartedAt || after["come"].State != "Running" {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}

	// A manifest that is wrong changes nothing, and says so.
	h.write(t, "kind: Nonsense\n")
	h.AwaitLine(t, `reload refused`, soon)
	again := h.ps(t)
	for name := range after {
		if again[name].StartedAt != after[name].StartedAt {
			t.Errorf("%s was touched by a manifest that is wrong", name)
		}
	}

	// SIGHUP reads it again.
	refused := h.count(`reload refused`)
	h.Signal(syscall.SIGHUP)
	h.awaitCount(t, `reload refused`, refused+1, soon)
}

func TestAReplacedModuleIsTakenUp(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	path := filepath.Join(shortDir(t), "module.wasm")
	replace := func(name string) {
		content, err := os.ReadFile(guest(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", content, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("idle")
	h := startHost(t, c, manifest(
		fixture{name: "mine", namespace: "default", module: path},
		fixture{name: "other", namespace: "default", module: guest(t, "idle")},
	), hostOptions{})
	h.awaitCount(t, `\| idle`, 2, soon)
	replace("signals")
	h.AwaitLine(t, `mine \| ready`, soon)
	if n := h.count(`other \| idle`); n != 1 {
		t.Errorf("the other guest has started %d times", n)
	}
}

// What a pod mounts it sees as files, and sees change.
func TestVolumesAreSeenAndUpdated(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	c.Apply(t, ns, `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green, other: thing}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {password: hunter2}
`)
	volumes := `  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: chosen, configMap: {name: settings, items: [{key: colour, path: deep/er}]}}
  - {name: key, secret: {secretName: key}}
  - {name: self, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}, {path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: scratch, emptyDir: {}}
`
	mounts := `    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: chosen, mountPath: /etc/chosen}
    - {name: key, mountPath: /etc/key}
    - {name: self, mountPath: /etc/self}
    - {name: scratch, mountPath: /scratch}
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: key, key: password}}}
    - {name: SELF, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
`
	reader := fixture{name: "reader", namespace: ns, module: guest(t, "read_files"), spec: volumes, container: mounts, args: []string{
		"/etc/settings", "/etc/settings/colour", "/etc/chosen/deep/er", "/etc/key/password", "/etc/self/name", "/etc/self/labels", "-w", "/etc/settings/colour",
		"-w", "/scratch/x", "/scratch", "/var/run/secrets/kubernetes.io/serviceaccount", "/etc/hostname", "-f", "/etc/settings/colour"}}
	env := fixture{name: "env", namespace: ns, module: guest(t, "echo"), spec: volumes, container: mounts, restart: "Never"}
	h := startHost(t, c, manifest(reader, env), hostOptions{})
	for _, line := range []string{
		`/etc/settings/ colour other$`, `/etc/settings/colour: green$`, `/etc/chosen/deep/er: green$`, `/etc/key/password: hunter2$`, `/etc/self/name: reader$`,
		`/etc/self/labels: app="reader"$`, `/etc/settings/colour: write errno [1-9]\d*$`, `/scratch/x: write errno 0$`, `/scratch/ x$`,
		`/var/run/secrets/kubernetes.io/serviceaccount/ namespace$`, `/etc/hostname: reader$`,
	} {
		h.AwaitLine(t, `reader \| `+line, long)
	}
	for _, line := range []string{"COLOUR=green", "PASSWORD=hunter2", "SELF=env", "KUBERNETES_SERVICE_HOST=kube"} {
		h.AwaitLine(t, `env \| env `+line, soon)
	}
	c.Patch(t, configMaps, ns, "settings", `{"data":{"colour":"blue"}}`)
	h.AwaitLine(t, `reader \| /etc/settings/colour: blue$`, soon)
	if n := h.count(`hunter2`); n != 2 {
		t.Errorf("the secret stands %d times in the log, and the guests printed it twice", n)
	}
}

func TestAPodWaitsForItsConfigMapAndStartsWhenItComes(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	h := startHost(t, c, fixture{
		name: "patient", namespace: ns, module: guest(t, "echo"), restart: "OnFailure",
		container: "    env:\n    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: late, key: colour}}}\n",
	}.String(), hostOptions{})
	h.AwaitLine(t, `pod waits.*late`, soon)
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: late}, data: {colour: red}}`)
	h.AwaitLine(t, `patient \| env COLOUR=red`, soon)
	if code := h.AwaitExit(t, soon); code != 0 {
		t.Errorf("exit code %d when all pods had completed", code)
	}
}

func TestAGuestServesAPortOfTheMachine(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	port := freePort(t)
	h := startHost(t, c, fixture{
		name: "server", namespace: "default", module: guest(t, "listen"), args: []string{"8080", "2"}, restart: "Never",
		container: fmt.Sprintf("    ports: [{containerPort: 8080, hostPort: %d, hostIP: 127.0.0.1}]\n", port),
	}.String(), hostOptions{})
	h.AwaitLine(t, `server \| listening on 8080`, soon)
	for i := range 2 {
		eventually(t, soon, func() string { // The machine's port opens a moment after the guest's.
			response, err := (&http.Client{Timeout: soon}).Get(fmt.Sprintf("http://127.0.0.1:%d/%d", port, i))
			if err != nil {
				return err.Error()
			}
			response.Body.Close()
			return ""
		})
		h.AwaitLine(t, fmt.Sprintf(`served GET /%d `, i), soon)
	}
	if code := h.AwaitExit(t, soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
