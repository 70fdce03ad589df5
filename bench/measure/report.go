// SPDX-License-Identifier: Apache-2.0

// Package measure is what the benchmarks share: copies of an operator, groups of processes and what they hold, hosts,
// and the report in which it all ends.
package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
)

// Goal is one figure that an issue names.
type Goal struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Goal  string  `json:"goal"`
	Met   bool    `json:"met"`
}

// Report is the JSON object of a benchmark.
type Report struct {
	Goals []Goal
	Data  map[string]any
}

// NewReport is an empty one.
func NewReport() *Report { return &Report{Goals: []Goal{}, Data: map[string]any{}} }

// AtMost notes a figure whose goal is an upper limit.
func (r *Report) AtMost(name string, value float64, unit string, limit float64) {
	r.goal(Goal{name, value, unit, fmt.Sprintf("at most %g", limit), value <= limit})
}

// AtLeast notes a figure whose goal is a lower limit.
func (r *Report) AtLeast(name string, value float64, unit string, limit float64) {
	r.goal(Goal{name, value, unit, fmt.Sprintf("at least %g", limit), value >= limit})
}

// Below is AtMost with the issue's own words.
func (r *Report) Below(name string, value float64, unit string, limit float64, text string) {
	r.goal(Goal{name, value, unit, text, value <= limit})
}

func (r *Report) goal(g Goal) {
	if math.IsNaN(g.Value) || math.IsInf(g.Value, 0) {
		Say("%s: nothing was measured", g.Name)
		return
	}
	r.Goals = append(r.Goals, g)
	Say("%s: %.4g %s (%s)%s", g.Name, g.Value, g.Unit, g.Goal, map[bool]string{false: "  MISSED"}[g.Met])
}

// Write puts the report where the benchmark's `run` expects it; again, if more has become known.
func (r *Report) Write(t testing.TB) {
	t.Helper()
	line, err := json.Marshal(map[string]any{"bench": os.Getenv("BENCH_NAME"), "machine": json.RawMessage(os.Getenv("BENCH_MACHINE")), "goals": r.Goals, "data": r.Data})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(os.Getenv("BENCH_OUT"), append(line, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Say tells of progress.
func Say(format string, args ...any) { fmt.Fprintf(os.Stderr, "[bench] "+format+"\n", args...) }

// Quantiles of a latency, in one unit.
type Quantiles struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// QuantilesOf sorts its argument.
func QuantilesOf(values []float64) Quantiles {
	if len(values) == 0 {
		return Quantiles{}
	}
	slices.Sort(values)
	at := func(q float64) float64 { return values[min(len(values)-1, int(q*float64(len(values))))] }
	return Quantiles{len(values), at(0.5), at(0.9), at(0.99), at(0.999), values[len(values)-1]}
}

func (q Quantiles) String() string {
	return fmt.Sprintf("p50 %.4g, p99 %.4g, p99.9 %.4g, max %.4g (%d)", q.P50, q.P99, q.P999, q.Max, q.Count)
}
