// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"dormouse.dev/e2e/harness"
)

// probed is a pod of the fixture guest of that name with these probes (their lines, flow style).
func probed(t *testing.T, name, restart string, args []string, probes string) fixture {
	t.Helper()
	return fixture{name: name, namespace: "default", module: guest(t, "probed"), args: append([]string{"8080"}, args...), memory: "16Mi", grace: 1, restart: restart,
		container: "    ports: [{name: health, containerPort: 8080}]\n" + probes}
}

// Probes are really called, from inside the host: what is ready is told, what is unhealthy is ended and run again, and
// the reason is in its status.
func TestProbesAreCalledAndActedUpon(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	// Who is to be asked more than once must run in between: see the next test.
	const get = "httpGet: {path: /healthz, port: health}, periodSeconds: 1, "
	h := startHost(t, c, manifest(
		probed(t, "ready", "", []string{"1000"}, "    readinessProbe: {"+get+"}\n"),
		probed(t, "never-ready", "", []string{"0"}, "    readinessProbe: {"+get+"}\n"),
		probed(t, "no-longer-ready", "", []string{"1", "fail", "300"}, "    readinessProbe: {"+get+"failureThreshold: 2}\n    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n"),
		probed(t, "unhealthy", "", []string{"2", "fail", "300"}, "    livenessProbe: {"+get+"failureThreshold: 2}\n"),
		probed(t, "unhealthy-once", "Never", []string{"0", "close"}, "    livenessProbe: {"+get+"failureThreshold: 1}\n"),
		probed(t, "hangs", "OnFailure", []string{"0", "hang"}, "    startupProbe: {"+get+"failureThreshold: 1}\n    livenessProbe: {"+get+"}\n"),
		probed(t, "listens-nowhere", "", []string{"1000"}, "    livenessProbe: {httpGet: {port: 9}, periodSeconds: 1, failureThreshold: 2}\n"),
	), hostOptions{})

	h.AwaitLine(t, `^default/ready \| asked 1: GET /healthz HTTP/1\.1`, long)
	h.AwaitLine(t, `^I \S+ guest is ready guest=default/ready`, soon)
	h.AwaitLine(t, `^I \S+ guest is ready guest=default/no-longer-ready`, soon)
	h.AwaitLine(t, `^I \S+ guest is not ready guest=default/no-longer-ready`, soon)
	for name, why := range map[string]string{
		"unhealthy":       "its liveness probe has failed 2 times: GET /healthz on port 8080 was answered 500",
		"unhealthy-once":  "its liveness probe has failed 1 times: the guest closed the connection without an answer to GET /healthz on port 8080",
		"hangs":           "its startup probe has failed 1 times: GET /healthz on port 8080 was not answered in 1 s",
		"listens-nowhere": "its liveness probe has failed 2 times: default/listens-nowhere does not listen on port 9",
	} {
		h.AwaitLine(t, `^E \S+ guest is unhealthy and is ended guest=default/`+name+` `, long)
		h.AwaitLine(t, `^[IE] \S+ guest (ended|failed) guest=default/`+name+` `, soon)
		last := h.ps(t)[name].LastTermination
		if last == nil || last.Reason != "Error" || last.ExitCode != 143 || last.Message != why {
			t.Errorf("%s ended as %+v, not because %s", name, last, why)
		}
	}
	all := h.ps(t)
	for name, ready := range map[string]bool{"ready": true, "never-ready": false, "no-longer-ready": false} {
		if one := all[name]; one.Ready != ready || one.State != "Running" || one.Restarts != 0 {
			t.Errorf("%s: ready %v, state %s, %d restarts", name, one.Ready, one.State, one.Restarts)
		}
	}
	if n := h.count(`^default/unhealthy \| asked 5`); n != 0 {
		t.Error("it was asked again after its fate was known")
	}
	// A new run starts afresh: ten seconds later it is healthy again, for two answers.
	h.AwaitLine(t, `^I \S+ guest restarted guest=default/unhealthy restarts=1`, long)
	h.awaitCount(t, `^default/unhealthy \| asked 1: `, 2, soon)
	if one := h.ps(t)["unhealthy-once"]; one.State != "Terminated" || one.Restarts != 0 {
		t.Errorf("restartPolicy Never: %+v", one)
	}
	if one := h.ps(t)["hangs"]; one.State == "Terminated" {
		t.Errorf("restartPolicy OnFailure: %+v", one)
	}
}

// A guest that waits is not woken for an answer that it has given: its probe is passed over while it has not run since.
func TestProbesDoNotWakeASleeper(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	h := startHost(t, c, manifest(
		probed(t, "sleeper", "", []string{"1000"}, "    livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}\n    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}\n"),
		// Asked at the same times, it shows how often that was: it fails each time, and nothing comes of it.
		probed(t, "clock", "", []string{"0"}, "    readinessProbe: {httpGet: {path: /tick, port: 8080}, periodSeconds: 1}\n"),
	), hostOptions{})
	h.AwaitLine(t, `^default/sleeper \| asked 1: `, long)
	h.AwaitLine(t, `^default/clock \| asked 8: `, long)
	if n := h.count(`^default/sleeper \| asked 2: `); n != 0 {
		t.Error("the sleeper was asked again")
	}
	one := h.ps(t)["sleeper"]
	if !one.Ready || one.Wakeups > 4 { // To accept, to read, to see the end.
		t.Errorf("the sleeper is ready %v and was woken %d times", one.Ready, one.Wakeups)
	}
	key := `dormouse_guest_ready{namespace="default",pod="%s",container="main"}`
	if metrics := h.metrics(t); metrics[fmt.Sprintf(key, "sleeper")] != 1 || metrics[fmt.Sprintf(key, "clock")] != 0 {
		t.Errorf("the metrics say otherwise: %v, %v", metrics[fmt.Sprintf(key, "sleeper")], metrics[fmt.Sprintf(key, "clock")])
	}
}
