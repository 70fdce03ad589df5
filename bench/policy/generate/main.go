// SPDX-License-Identifier: Apache-2.0

// Writes the synthetic traces in ../traces, the same bytes each time: each trace has its own seed.
//
//	go run bench/policy/generate/main.go bench/policy/traces
//
// The format is described in src/guest/sleep_trace.h. Recorded traces (recorded-*.trace) are not made here.
package main

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
)

const (
	rustBytes = 760_000   // Private memory of a started Rust operator that is parked.
	goBytes   = 8_600_000 // Of a controller-runtime operator.
	day       = 24 * 3600.0
)

// wake is something that will wake a guest; times are seconds.
type wake struct {
	at    float64
	guest int
	cause string
	order int
}

type queue []wake

func (q queue) Len() int { return len(q) }
func (q queue) Less(a, b int) bool {
	if q[a].at != q[b].at {
		return q[a].at < q[b].at
	}
	return q[a].order < q[b].order
}
func (q queue) Swap(a, b int) { q[a], q[b] = q[b], q[a] }
func (q *queue) Push(x any)   { *q = append(*q, x.(wake)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// world turns wake-ups into waits.
type world struct {
	random *rand.Rand
	queue  queue
	order  int
	sizes  []int
	period []float64 // Of the guest's own timer; 0: none.
}

func newWorld(seed int64) *world { return &world{random: rand.New(rand.NewSource(seed))} }

func (w *world) guest(bytes int, timer float64) int {
	w.sizes = append(w.sizes, bytes)
	w.period = append(w.period, timer)
	return len(w.sizes) - 1
}

func (w *world) wake(at float64, guest int, cause string) {
	w.order++
	heap.Push(&w.queue, wake{at, guest, cause, w.order})
}

// reconcile is an event and what the API server answers to the two requests that follow it.
func (w *world) reconcile(at float64, guest int) {
	w.wake(at, guest, "event")
	for range 2 {
		at += 0.002 + w.random.ExpFloat64()*0.003
		w.wake(at, guest, "event")
	}
}

func (w *world) exponential(mean float64) float64 { return w.random.ExpFloat64() * mean }

func (w *world) write(path, about string, until float64) {
	us := func(seconds float64) int64 { return int64(math.Round(seconds * 1e6)) }
	parked := make([]int64, len(w.sizes))
	timer := make([]int64, len(w.sizes))
	for g, period := range w.period {
		if period > 0 {
			timer[g] = us(period)
			w.wake(period, g, "timer")
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "dormouse-trace 1\n# %s\n", about)
	for w.queue.Len() > 0 {
		next := heap.Pop(&w.queue).(wake)
		if next.at > until {
			break
		}
		now := max(us(next.at), parked[next.guest])
		deadline := "-"
		if timer[next.guest] != 0 {
			deadline = fmt.Sprint(max(timer[next.guest], parked[next.guest]))
		}
		fmt.Fprintf(&out, "%d %d guest-%d %s %s %d\n", parked[next.guest], now, next.guest, next.cause, deadline, w.sizes[next.guest])
		// A slice takes a moment.
		parked[next.guest] = now + 200
		if next.cause == "timer" {
			at := next.at + w.period[next.guest]
			timer[next.guest] = us(at)
			w.wake(at, next.guest, "timer")
		}
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIR")
		os.Exit(2)
	}
	file := func(name string) string { return filepath.Join(os.Args[1], name+".trace") }

	w := newWorld(1)
	for g := range 4 {
		guest := w.guest([]int{rustBytes, goBytes}[g%2], 0)
		for at := w.random.Float64() * 5; at < 900; at += 5 + w.random.NormFloat64()*0.05 {
			w.reconcile(at, guest)
		}
	}
	w.write(file("periodic-5s"), "An event every 5 s.", 900)

	w = newWorld(2)
	means := []float64{2, 10, 30, 120, 600, 3600}
	for g, mean := range means {
		guest := w.guest([]int{rustBytes, goBytes}[g%2], 0)
		for at, n := w.exponential(mean), 0; n < 150; at, n = at+w.exponential(mean), n+1 {
			w.reconcile(at, guest)
		}
	}
	w.write(file("poisson"), "Independent events; mean gaps of 2 s to 1 h.", 3*day)

	// A deploy touches some of the operators, each with a burst; between deploys there is hardly anything.
	w = newWorld(3)
	for g := range 8 {
		w.guest([]int{rustBytes, goBytes}[g%2], 0)
	}
	for at := w.exponential(1200); at < 12*3600; at += w.exponential(1200) {
		for g := range 8 {
			if w.random.Float64() > 0.3 {
				continue
			}
			for t, left := at+w.random.Float64()*2, 3+w.random.Intn(15); left > 0; t, left = t+w.exponential(0.8), left-1 {
				w.reconcile(t, g)
			}
		}
	}
	for g := range 8 {
		for at := w.exponential(5400); at < 12*3600; at += w.exponential(5400) {
			w.reconcile(at, g)
		}
	}
	w.write(file("bursty-deploys"), "Deploys, on average every 20 minutes, each a burst at some operators.", 12*3600)

	// Busy by day, quiet by night.
	w = newWorld(4)
	for g := range 4 {
		guest := w.guest([]int{rustBytes, goBytes}[g%2], 0)
		at := 0.0
		for at < 2*day {
			// Thinning: candidates at the highest rate, kept with the probability of the hour.
			at += w.exponential(300)
			rate := 0.5 - 0.5*math.Cos(2*math.Pi*at/day)
			if w.random.Float64() < 0.02+0.98*rate*rate*rate {
				w.reconcile(at, guest)
			}
		}
	}
	w.write(file("diurnal"), "Two days; gaps of minutes at noon, of hours at night.", 2*day)

	// A change that runs through operators in turn, as the origin's chain of 100 does.
	w = newWorld(5)
	for range 40 {
		w.guest(rustBytes, 0)
	}
	for at := w.exponential(90); at < 2000; at += 20 + w.exponential(90) {
		t := at
		for g := range 40 {
			w.reconcile(t, g)
			t += 0.015 + w.exponential(0.01)
		}
	}
	w.write(file("chain"), "A change that passes through 40 operators in turn, every two minutes or so.", 2000)

	// Timers of their own, known exactly, and now and then an event.
	w = newWorld(6)
	for g, timer := range []float64{0.5, 10, 30, 300} {
		guest := w.guest([]int{goBytes, goBytes, rustBytes, rustBytes}[g], timer)
		for at := w.exponential(400); at < 900; at += w.exponential(400) {
			w.reconcile(at, guest)
		}
	}
	w.write(file("timers"), "Operators with timers of 0.5, 10, 30 and 300 s of their own, and few events.", 900)
}
