// SPDX-License-Identifier: Apache-2.0

// Package scale measures one host with very many guests: the smallest operator there is (bench/guests/echo_operator.c), each
// with a watch of its own at bench/fakeapi, in modules that differ in a nonce.
package scale

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/fakeapi"
	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	startTimeout  = 10 * time.Minute
	answerTimeout = 30 * time.Second
	settle        = 15 * time.Second // After the last start: ten seconds after each the code that only starts need is given back.
)

type outcome struct {
	Guests  int     `json:"guests"`
	Modules int     `json:"modules"`
	StartS  float64 `json:"start_s"` // From exec until each guest watches.
	PeakPSS uint64  `json:"start_pss_max_bytes"`
	measure.Memory
	Cgroup        *uint64            `json:"cgroup_bytes"`
	BytesPerGuest float64            `json:"bytes_per_guest"` // PSS and page tables beyond an empty host's.
	Threads       int                `json:"threads"`
	FDs           int                `json:"fds"`
	Wake          measure.Quantiles  `json:"event_to_request_us"`
	First         map[string]float64 `json:"wake_to_first_instruction_us"`
	IdleCPU       float64            `json:"idle_cpu_millicores"`
	Metrics       map[string]float64 `json:"host_metrics"`
}

func TestScale(t *testing.T) {
	report := measure.NewReport()
	scales := os.Getenv("BENCH_SCALES")
	if scales == "" {
		scales = "1000x100,10000x10"
	}
	var outcomes []outcome
	for _, text := range strings.Split(scales, ",") {
		var guests, modules int
		if _, err := fmt.Sscanf(text, "%dx%d", &guests, &modules); err != nil {
			t.Fatalf("BENCH_SCALES: %q: %v", text, err)
		}
		t.Run(text, func(t *testing.T) {
			o := measureScale(t, guests, modules)
			outcomes = append(outcomes, o)
			limit := map[int]float64{1000: 100, 10000: 500}[guests]
			if limit > 0 {
				report.AtMost(fmt.Sprintf("%d guests of %d modules, asleep, PSS and page tables", guests, modules), float64(o.PSS+o.PageTables)/1e6, "MB", limit)
			}
			measure.Say("%d guests of %d modules: up in %.1f s (at most %.1f MB meanwhile); at rest PSS %.1f MB + page tables %.1f MB (%.1f KiB a guest), %d mappings, %d fds, %.2f mCPU; event to request us %v; first instruction us %v",
				guests, modules, o.StartS, float64(o.PeakPSS)/1e6, float64(o.PSS)/1e6, float64(o.PageTables)/1e6, o.BytesPerGuest/1024, o.Mappings, o.FDs, o.IdleCPU, o.Wake, o.First)
		})
		report.Data["scales"] = outcomes
		report.Write(t)
	}
}

func guest(i int, module string, modules int) harness.Operator {
	kind, name := 2*(i%modules), fmt.Sprintf("guest-%d", i)
	return harness.Operator{
		Name: name, Namespace: "default", ServiceAccount: "chain", Module: module, MemoryLimit: "16Mi",
		Annotations: map[string]string{"dormouse.io/sleep": "immediately"},
		Env: map[string]string{
			"NAME": name, "KIND": fmt.Sprintf("Link%d", kind+1), "WATCH": fmt.Sprintf("/apis/%s/v1/link%ds?watch=true&fieldSelector=metadata.name=%s", measure.ChainGroup, kind, name),
			"ANSWER": fmt.Sprintf("/apis/%s/v1/namespaces/default/link%ds/%s", measure.ChainGroup, kind+1, name),
		},
	}
}

func measureScale(t *testing.T, guests, modules int) outcome {
	o := outcome{Guests: guests, Modules: modules, First: map[string]float64{}}
	api := fakeapi.Start(t, 2*modules)
	copies := measure.Copies(t, harness.Operator{Module: filepath.Join(os.Getenv("BENCH_GUESTS"), "echo_operator.wasm")}, modules, true)
	var manifest strings.Builder
	for i := range guests {
		manifest.WriteString("---\n" + guest(i, copies[i%modules].Module, modules).Pod())
	}
	g := measure.NewGroup(t, "scale")
	began := time.Now()
	h := measure.StartHost(t, g, api.Kubeconfig, manifest.String(), "--log-level", "warning")
	for api.Watches() < guests {
		select {
		case <-h.Done():
			t.Fatalf("the host has ended with %d of %d guests up", api.Watches(), guests)
		case <-time.After(250 * time.Millisecond):
		}
		o.PeakPSS = max(o.PeakPSS, measure.MemoryOf(h.PID).PSS)
		if time.Since(began) > startTimeout {
			t.Fatalf("%d of %d guests are up after %v", api.Watches(), guests, startTimeout)
		}
	}
	o.StartS = time.Since(began).Seconds()
	<-time.After(settle)
	o.Memory, o.Cgroup = measure.MemoryOf(h.PID), g.Bytes()
	o.BytesPerGuest = float64(o.PSS+o.PageTables-12_000_000) / float64(guests)
	usage := harness.Measure(t, h.PID)
	o.Threads, o.FDs = usage.Threads, usage.FDs
	cpu, at := measure.CPU(h.PID), time.Now()
	<-time.After(10 * time.Second)
	o.IdleCPU = 1000 * (measure.CPU(h.PID) - cpu).Seconds() / time.Since(at).Seconds()

	before := h.Metrics(t)
	random := rand.New(rand.NewPCG(1, 2))
	var took []float64
	for n := range min(2*guests, 2000) {
		i := random.IntN(guests)
		kind, name := 2*(i%modules), fmt.Sprintf("guest-%d", i)
		api.Emit(fmt.Sprintf("link%ds", kind), name, int64(n+1))
		took = append(took, await(t, api, kind, name, int64(n+1)))
	}
	o.Wake = measure.QuantilesOf(took)
	after := h.Metrics(t)
	for label, q := range map[string]float64{"p50": 0.5, "p99": 0.99, "p99.9": 0.999} {
		if value, count := measure.HistogramQuantile(before, after, "dormouse_wake_seconds", `from="page_cache"`, q); count > 0 {
			o.First[label] = value * 1e6
		}
	}
	o.Metrics = map[string]float64{}
	for name, value := range after {
		if strings.HasPrefix(name, "dormouse_") && !strings.Contains(name, "{") { // What has labels is one line a guest or collection.
			o.Metrics[name] = value
		}
	}
	return o
}

func await(t *testing.T, api *fakeapi.Server, kind int, name string, number int64) float64 {
	t.Helper()
	timeout := time.After(answerTimeout)
	for {
		select {
		case a := <-api.Answers:
			if a.Name == name && a.Number == number {
				return float64(a.At.Sub(api.Sent(fmt.Sprintf("link%ds", kind), name)).Nanoseconds()) / 1000
			}
		case <-timeout:
			t.Fatalf("%s has not answered event %d within %v", name, number, answerTimeout)
		}
	}
}
