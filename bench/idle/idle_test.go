// SPDX-License-Identifier: Apache-2.0

// Package idle measures a host whose operators have nothing to do: 50 in Go with their ticks as they are, 30 in Rust, and 20
// that look at an object every five seconds with polls offloaded. The API server is real: bookmarks, keep-alives and watches
// that time out are part of being idle.
package idle

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	goOperators, rustOperators, pollers = 50, 30, 20
	pollPeriod                          = 5 * time.Second
	startTimeout                        = 6 * time.Minute
	settle                              = 120 * time.Second // Slack has grown, polls are recognised, code of starts is gone.
)

func TestIdle(t *testing.T) {
	c := harness.SharedCluster(t)
	report := measure.NewReport()
	measure.SetUpChain(t, c, goOperators+rustOperators+2)
	window := 300 * time.Second
	if n, err := strconv.Atoi(os.Getenv("BENCH_IDLE_S")); err == nil {
		window = time.Duration(n) * time.Second
	}
	c.Apply(t, "default", "{apiVersion: chain.dormouse.example/v1, kind: Link0, metadata: {name: looked-at}, spec: {number: 0}}")
	sleep := os.Getenv("BENCH_SLEEP")
	if sleep == "" {
		sleep = "predictive" // The default.
	}
	report.Data["sleep"] = sleep
	manifest := ""
	for i := range goOperators + rustOperators {
		language := "go"
		if i >= goOperators {
			language = "rust"
		}
		o := measure.ChainOperator(language, i+1)
		o.Annotations = map[string]string{"dormouse.io/sleep": sleep}
		manifest += "---\n" + o.Pod()
	}
	for i := range pollers {
		o := harness.Operator{
			Name: fmt.Sprintf("poller-%d", i), Namespace: "default", ServiceAccount: "chain", MemoryLimit: "16Mi",
			Module: filepath.Join(os.Getenv("BENCH_GUESTS"), "poller.wasm"), Annotations: map[string]string{"dormouse.io/sleep": sleep, "dormouse.io/poll-offload": "max-sleep=1h"},
			Env: map[string]string{"POLL": "/apis/chain.dormouse.example/v1/namespaces/default/link0s/looked-at", "PERIOD_MS": fmt.Sprint(pollPeriod.Milliseconds())},
		}
		manifest += "---\n" + o.Pod()
	}
	g := measure.NewGroup(t, "idle")
	h := measure.StartHost(t, g, c.Kubeconfig, manifest)
	chain := measure.NewChain(t, c, 1, goOperators+rustOperators, "idle")
	if _, _, err := chain.Pass(t.Context(), "idle"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AwaitLines(`poller-\d+ \| changed`, pollers, startTimeout); err != nil {
		t.Fatal(err)
	}
	measure.Say("all are up; waiting %v, then measuring for %v", settle, window)
	<-time.After(settle)
	before, usage, cpu, at := h.Metrics(t), harness.Measure(t, h.PID), measure.CPU(h.PID), time.Now()
	<-time.After(window)
	took := time.Since(at)
	used := measure.CPU(h.PID) - cpu
	after, later := h.Metrics(t), harness.Measure(t, h.PID)

	more := func(name string, labels ...string) float64 {
		sum := 0.0
		for key, value := range after {
			matches := key == name || strings.HasPrefix(key, name+"{")
			for _, label := range labels {
				matches = matches && strings.Contains(key, label)
			}
			if matches {
				sum += value - before[key]
			}
		}
		return sum
	}
	causes := map[string]map[string]float64{}
	for _, who := range []string{"chain-go", "chain-rust", "poller"} {
		causes[who] = map[string]float64{}
		for key := range after {
			if !strings.HasPrefix(key, "dormouse_guest_wakeups_total{") {
				continue
			}
			_, rest, _ := strings.Cut(key, `cause="`)
			cause, _, _ := strings.Cut(rest, `"`)
			causes[who][cause] = more("dormouse_guest_wakeups_total", `pod="`+who, `cause="`+cause+`"`)
		}
	}
	perGuestMinute := func(n float64, guests int) float64 { return n / float64(guests) / took.Minutes() }
	var others float64
	for _, who := range []string{"chain-go", "chain-rust"} {
		for cause, n := range causes[who] {
			if cause != "timer" {
				others += n
			}
		}
	}
	expected := float64(pollers) * took.Seconds() / pollPeriod.Seconds()
	woken := more("dormouse_guest_wakeups_total", `pod="poller`, `cause="timer"`)
	memory := measure.MemoryOf(h.PID)
	report.Data["window_s"], report.Data["cpu_s"], report.Data["wakeups_by_cause"] = took.Seconds(), used.Seconds(), causes
	report.Data["host_wakeups"], report.Data["memory"], report.Data["cgroup_bytes"] = later.Wakeups-usage.Wakeups, memory, g.Bytes()
	report.Data["upstream_requests"] = more("dormouse_upstream_requests_total")
	report.Data["offloaded_polls"] = more("dormouse_offloaded_polls_total")
	report.AtMost("host CPU, 100 idle operators", 1000*used.Seconds()/took.Seconds(), "mCPU", 5)
	report.AtMost("wake-ups of operators other than by their own deadlines", others, "wake-ups", 0)
	report.AtLeast("polls at 5 s absorbed", 100*(1-woken/expected), "%", 95)
	report.Write(t)
	measure.Say("wake-ups by cause %v; a Go operator woke %.1f times a minute; PSS %.1f MB; %d wake-ups of the host's threads", causes, perGuestMinute(causes["chain-go"]["timer"], goOperators), float64(memory.PSS)/1e6, later.Wakeups-usage.Wakeups)
}
