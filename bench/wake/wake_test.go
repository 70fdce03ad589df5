// SPDX-License-Identifier: Apache-2.0

// Package wake measures the way of one event through a host: from the API server's write to the guest's answer. The API
// server is bench/fakeapi, which takes microseconds, in the same process as the clock.
package wake

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/fakeapi"
	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	name         = "event" // Of the object.
	between      = 60 * time.Millisecond
	coldBetween  = 1500 * time.Millisecond // Who sleeps for so long that its file is cold has no code mapped any more (kCodeStays in run.cc).
	startTimeout = time.Minute
)

// subject is a guest of some size.
type subject struct {
	name     string
	bytes    uint64 // Of linear memory once it has started.
	operator harness.Operator
	native   bool
	coldGoal float64 // ms to the first instruction, p50; 0: none is named.
}

func subjects() []subject {
	echo := harness.Operator{Module: filepath.Join(os.Getenv("BENCH_GUESTS"), "echo_operator.wasm")}
	return []subject{
		{"rust, 2 MB", 1900544, measure.ChainOperator("rust", 0), true, 1},
		{"go, 34 MB", 35651584, measure.ChainOperator("go", 0), true, 5},
		{"synthetic, 90 MB", 90 << 20, echo, false, 0},
	}
}

// at gives a subject its kinds: it watches Link<index> and writes Link<index+1>.
func (s subject) at(index int, sleep string) harness.Operator {
	o := s.operator
	o.Name, o.Namespace, o.ServiceAccount, o.MemoryLimit = fmt.Sprintf("guest-%d", index), "default", "chain", "256Mi"
	o.Annotations = map[string]string{"dormouse.io/sleep": sleep}
	o.Env = map[string]string{
		"CHAIN_INDEX": fmt.Sprint(index), "CHAIN_LENGTH": fmt.Sprint(index + 1), "BALLAST_BYTES": fmt.Sprint(s.bytes), "TOUCH_BYTES": "65536",
		"NAME": name, "KIND": fmt.Sprintf("Link%d", index+1), "WATCH": fmt.Sprintf("/apis/%s/v1/link%ds?watch=true&fieldSelector=metadata.name=%s", measure.ChainGroup, index, name),
		"ANSWER": fmt.Sprintf("/apis/%s/v1/namespaces/default/link%ds/%s", measure.ChainGroup, index+1, name),
	}
	return o
}

// outcome is one subject, one way. Times in microseconds.
type outcome struct {
	Subject string `json:"subject"`
	Way     string `json:"way"`
	// From the event's write at the API server to the answering request's arrival there: sockets, TLS, host, guest.
	Answer measure.Quantiles `json:"event_to_request_us"`
	// From what woke the guest (the stream's bytes are there) to its first instruction, of the host's own metric.
	First *first `json:"wake_to_first_instruction_us,omitempty"`
}

type first struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
}

func firstOf(before, after map[string]float64, from string) *first {
	at := func(q float64) float64 {
		value, _ := measure.HistogramQuantile(before, after, "dormouse_wake_seconds", `from="`+from+`"`, q)
		return value * 1e6
	}
	_, count := measure.HistogramQuantile(before, after, "dormouse_wake_seconds", `from="`+from+`"`, 0.5)
	if count == 0 {
		return nil
	}
	return &first{count, at(0.5), at(0.99), at(0.999)}
}

func TestWake(t *testing.T) {
	report := measure.NewReport()
	events, cold := 1000, 40
	if os.Getenv("BENCH_QUICK") != "" {
		events, cold = 50, 5
	}
	if n, err := strconv.Atoi(os.Getenv("BENCH_EVENTS")); err == nil {
		events = n
	}
	var outcomes []outcome
	for _, s := range subjects() {
		if chosen := os.Getenv("BENCH_SUBJECTS"); chosen != "" && !strings.Contains(chosen, strings.SplitN(s.name, ",", 2)[0]) {
			continue
		}
		t.Run(s.name, func(t *testing.T) { outcomes = append(outcomes, measureSubject(t, report, s, events, cold)...) })
		report.Data["wakes"] = outcomes
		report.Write(t)
	}
}

// way is one guest or process that answers events of its own kind.
type way struct {
	name  string
	index int
	sent  int64
	host  *measure.Host
	took  []float64
}

func measureSubject(t *testing.T, report *measure.Report, s subject, events, cold int) []outcome {
	api := fakeapi.Start(t, 20)
	g := measure.NewGroup(t, "wake")
	ways := []*way{{name: "resident", index: 0}, {name: "asleep, warm", index: 10}}
	for i, sleep := range []string{"never", "immediately"} {
		var group *measure.Group
		if i == 1 {
			group = g
		}
		ways[i].host = measure.StartHost(t, group, api.Kubeconfig, s.at(ways[i].index, sleep).Pod())
	}
	if s.native {
		o := s.at(15, "never")
		env := []string{"KUBECONFIG=" + api.Kubeconfig, "HOME=/tmp"}
		for variable, value := range o.Env {
			env = append(env, variable+"="+value)
		}
		harness.StartProcess(t, harness.Command{Path: o.Native, Env: env})
		ways = append(ways, &way{name: "native", index: 15})
	}
	for _, w := range ways {
		awaitWatch(t, api, w)
	}
	pass := func(w *way) float64 {
		<-time.After(between)
		return w.pass(t, api)
	}
	for range 20 {
		for _, w := range ways {
			pass(w)
		}
	}
	before := []map[string]float64{ways[0].host.Metrics(t), ways[1].host.Metrics(t)}
	for range events {
		for _, w := range ways {
			w.took = append(w.took, pass(w))
		}
	}
	var outcomes []outcome
	for i, w := range ways {
		o := outcome{Subject: s.name, Way: w.name, Answer: measure.QuantilesOf(w.took)}
		if i < 2 {
			o.First = firstOf(before[i], w.host.Metrics(t), []string{"ram", "page_cache"}[i])
		}
		outcomes = append(outcomes, o)
	}
	resident, asleep := outcomes[0], outcomes[1]
	if asleep.First == nil {
		measure.Say("%s: the guest never left RAM", s.name)
		asleep.First = &first{0, math.NaN(), math.NaN(), math.NaN()}
		outcomes[1].First = nil
	}
	report.AtMost(s.name+", warm, wake to first instruction p50", asleep.First.P50, "us", 100)
	report.AtMost(s.name+", warm, wake to first instruction p99", asleep.First.P99, "us", 1000)
	report.AtMost(s.name+", warm, event to request p50 beyond a resident guest's", asleep.Answer.P50-resident.Answer.P50, "us", 1000)
	if evict := coldly(g); evict == nil {
		measure.Say("%s: cold page files cannot be had without a cgroup", s.name)
	} else {
		w := ways[1]
		w.took = nil
		from := w.host.Metrics(t)
		for range cold {
			<-time.After(coldBetween)
			evict()
			w.took = append(w.took, w.pass(t, api))
		}
		o := outcome{s.name, "asleep, cold", measure.QuantilesOf(w.took), firstOf(from, w.host.Metrics(t), "disk")}
		outcomes = append(outcomes, o)
		if s.coldGoal > 0 && o.First != nil {
			report.AtMost(s.name+", cold, wake to first instruction p50", o.First.P50/1000, "ms", s.coldGoal)
			report.AtMost(s.name+", cold, event to request p50 beyond a resident guest's", (o.Answer.P50-resident.Answer.P50)/1000, "ms", s.coldGoal)
		}
	}
	origin := measure.StartOrigin(t, nil, s.bytes, []string{s.operator.Module})
	var in []float64
	for range max(20, events/10) {
		in = append(in, origin.In(t, 0))
		origin.Out(t, 0)
	}
	q := measure.QuantilesOf(in)
	outcomes = append(outcomes, outcome{Subject: s.name, Way: "origin's way", First: &first{q.Count, q.P50, q.P99, q.P999}})
	for _, o := range outcomes {
		text := ""
		if o.First != nil {
			text = fmt.Sprintf("; first instruction us p50 %.0f, p99 %.0f, p99.9 %.0f (%d)", o.First.P50, o.First.P99, o.First.P999, o.First.Count)
		}
		measure.Say("%s, %s: event to request us %v%s", o.Subject, o.Way, o.Answer, text)
	}
	return outcomes
}

// coldly is how to drop a group's page cache; nil without a group.
func coldly(g *measure.Group) func() {
	if g == nil {
		return nil
	}
	return g.DropCache
}

func awaitWatch(t *testing.T, api *fakeapi.Server, w *way) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for !api.Watched(fmt.Sprintf("link%ds", w.index), name) {
		select {
		case <-ctx.Done():
			t.Fatalf("%s has not begun to watch", w.name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// pass sends an event and yields the microseconds to its answer.
func (w *way) pass(t *testing.T, api *fakeapi.Server) float64 {
	t.Helper()
	w.sent++
	api.Emit(fmt.Sprintf("link%ds", w.index), name, w.sent)
	timeout := time.After(startTimeout)
	for {
		select {
		case a := <-api.Answers:
			if a.Kind == fmt.Sprintf("link%ds", w.index+1) && a.Number == w.sent {
				return float64(a.At.Sub(api.Sent(fmt.Sprintf("link%ds", w.index), name)).Nanoseconds()) / 1000
			}
		case <-timeout:
			t.Fatalf("%s has not answered event %d within %v", w.name, w.sent, startTimeout)
		}
	}
}
