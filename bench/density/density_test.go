// SPDX-License-Identifier: Apache-2.0

// Package density measures the memory of many copies of the chain operators (examples/chain-rust, chain-go), six ways.
package density

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	startTimeout = 8 * time.Minute
	settle       = 12 * time.Second // After the last copy has done some work, before memory at rest is read: ten seconds after a
	//                                start a host gives back the code that only starting needs.
	loadTime    = 15 * time.Second
	sampleEvery = time.Second
	groupSize   = 4 // Operators that one event reaches, one after another.
	groupSpace  = 5 // Kinds a group takes: one more than its operators.
)

var allWays = []string{"native", "combined", "containers", "resident", "asleep", "origin"}

// result is what one way needs for so many copies.
type result struct {
	Operator string            `json:"operator"`
	Way      string            `json:"way"`
	Copies   int               `json:"copies"`
	Distinct bool              `json:"distinct"`
	Skipped  string            `json:"skipped,omitempty"`
	StartMS  float64           `json:"start_ms"` // Until the last copy has done its first work.
	Idle     measure.Memory    `json:"idle"`
	Cgroup   *uint64           `json:"cgroup_bytes"`
	Squeezed *measure.Squeezed `json:"squeezed"`           // While few are busy.
	Few      *loaded           `json:"few_busy,omitempty"` // One event a second, for one group of four.
	All      *loaded           `json:"all_busy,omitempty"` // An event to each group as soon as the last has passed.
	PerGuest float64           `json:"bytes_per_copy"`     // Beyond the first.
}

// loaded is a load's effect.
type loaded struct {
	PSSMean uint64            `json:"pss_mean_bytes"`
	PSSMax  uint64            `json:"pss_max_bytes"`
	TookMS  measure.Quantiles `json:"group_ms"` // From the event to the end of the group of four.
}

type bench struct {
	c       *harness.Cluster
	report  *measure.Report
	results []result
	empty   uint64
	runs    int
}

func list(name, otherwise string) []string {
	if chosen := os.Getenv(name); chosen != "" {
		otherwise = chosen
	}
	return strings.Split(otherwise, ",")
}

func TestDensity(t *testing.T) {
	b := &bench{c: harness.SharedCluster(t), report: measure.NewReport()}
	var counts []int
	for _, text := range list("BENCH_COUNTS", "1,10,100") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, n)
	}
	largest := counts[len(counts)-1]
	measure.SetUpChain(t, b.c, kind(largest-1)+2)
	b.report.Data["settle_s"], b.report.Data["load_s"] = settle.Seconds(), loadTime.Seconds()
	b.empty = b.emptyHost(t)
	b.report.Data["empty_host_pss_bytes"] = b.empty
	for _, language := range list("BENCH_LANGUAGES", "rust,go") {
		for _, count := range counts {
			for _, distinct := range []bool{false, true} {
				if distinct && count == 1 {
					continue
				}
				t.Run(fmt.Sprintf("%s-%d-%v", language, count, distinct), func(t *testing.T) {
					operators := measure.Copies(t, measure.ChainOperator(language, 0), count, distinct)
					for k := range operators {
						o := measure.ChainOperator(language, kind(k))
						operators[k].Name, operators[k].Env = o.Name, o.Env
					}
					for _, way := range list("BENCH_WAYS", strings.Join(allWays, ",")) {
						if distinct && way == "combined" {
							continue // One program is one program.
						}
						b.run(t, language, way, operators, distinct, count == largest && os.Getenv("BENCH_LOADS") != "no")
						b.report.Data["runs"] = b.results
						b.report.Write(t)
					}
				})
			}
		}
	}
	b.goals(largest)
	b.report.Write(t)
	b.plot(t)
}

// kind is what copy k watches: groups do not touch.
func kind(k int) int { return k/groupSize*groupSpace + k%groupSize }

func (b *bench) find(language, way string, copies int, distinct bool) *result {
	for i := range b.results {
		r := &b.results[i]
		if r.Operator == language && r.Way == way && r.Copies == copies && r.Distinct == distinct && r.Skipped == "" {
			return r
		}
	}
	return nil
}

// fewer is the run that one more copy is told from: the largest smaller one, for the first copies bring what all share.
func (b *bench) fewer(language, way string, copies int, distinct bool) (found *result) {
	for i := range b.results {
		r := &b.results[i]
		if r.Operator == language && r.Way == way && r.Copies < copies && (r.Distinct == distinct || r.Copies == 1) && r.Skipped == "" && (found == nil || r.Copies > found.Copies) {
			found = r
		}
	}
	return found
}

func (b *bench) goals(n int) {
	ratio := func(name string, of, to *result, limit float64) {
		if of != nil && to != nil {
			b.report.AtMost(name, float64(of.Idle.PSS)/float64(to.Idle.PSS), "ratio", limit)
		}
	}
	for language, limits := range map[string]struct{ distinct, identical float64 }{"rust": {0.05, 0.25}, "go": {0.05, 0.08}} {
		what := fmt.Sprintf("%s, %d idle", language, n)
		ratio(what+" distinct copies, PSS of native", b.find(language, "asleep", n, true), b.find(language, "native", n, true), limits.distinct)
		ratio(what+" identical copies, PSS of native", b.find(language, "asleep", n, false), b.find(language, "native", n, false), limits.identical)
	}
	ratio(fmt.Sprintf("rust, %d idle identical copies, PSS of the combined process", n), b.find("rust", "asleep", n, false), b.find("rust", "combined", n, false), 1.2)
	if r := b.find("rust", "asleep", n, true); r != nil {
		b.report.AtMost(fmt.Sprintf("rust, %d idle distinct copies, PSS", n), float64(r.Idle.PSS)/1e6, "MB", 40)
	}
	for _, g := range []struct {
		language string
		distinct bool
		limit    float64
	}{{"rust", false, 16}, {"go", false, 200}, {"go", true, 1.6 * 1024}} {
		if r := b.find(g.language, "asleep", n, g.distinct); r != nil {
			kind := map[bool]string{false: "paged-out copy", true: "paged-out copy of a module of its own"}[g.distinct]
			b.report.AtMost(fmt.Sprintf("%s, one more %s, with page tables", g.language, kind), r.PerGuest/1024, "KiB", g.limit)
		}
	}
}

// emptyHost is what a host takes at rest that has connected and waits, and has never loaded a module.
func (b *bench) emptyHost(t *testing.T) (bytes uint64) {
	t.Run("empty", func(t *testing.T) {
		pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: waits}\nspec: {containers: [{name: c, image: " + filepath.Join(os.Getenv("EXAMPLES"), "chain-rust.wasm") + ", envFrom: [{configMapRef: {name: never}}]}]}\n"
		h := measure.StartHost(t, nil, b.c.Kubeconfig, pod)
		h.AwaitLine(t, "pod waits", time.Minute)
		<-time.After(settle)
		bytes = measure.MemoryOf(h.PID).PSS
	})
	return bytes
}

// running is a way at work.
type running struct {
	pids   func() []int
	chains []*measure.Chain // Nil: the origin's way, which has no guests that work.
	origin *measure.Origin
	copies int
	plus   uint64 // Bytes that the way would need besides.
}

func (b *bench) run(t *testing.T, language, way string, operators []harness.Operator, distinct, loads bool) {
	r := result{Operator: language, Way: way, Copies: len(operators), Distinct: distinct}
	b.runs++
	name := fmt.Sprintf("run%d", b.runs)
	what := fmt.Sprintf("%s, %d %s copies, %s", language, len(operators), map[bool]string{false: "identical", true: "distinct"}[distinct], way)
	if way == "containers" {
		r.Skipped = measure.NoContainers()
	}
	if r.Skipped != "" {
		measure.Say("%s: left out: %s", what, r.Skipped)
		b.results = append(b.results, r)
		return
	}
	if !t.Run(way, func(t *testing.T) {
		measure.Evict(operators)
		g := measure.NewGroup(t, name)
		began := time.Now()
		w := b.start(t, language, way, g, operators, name)
		r.StartMS = float64(time.Since(began).Milliseconds())
		<-time.After(settle)
		r.Idle = measure.MemoryOf(w.pids()...)
		r.Idle.PSS += w.plus
		if bytes := g.Bytes(); bytes != nil {
			*bytes += w.plus
			r.Cgroup = bytes
		}
		if fewer := b.fewer(language, way, len(operators), distinct); fewer != nil {
			r.PerGuest = (float64(r.Idle.PSS+r.Idle.PageTables) - float64(fewer.Idle.PSS+fewer.Idle.PageTables)) / float64(len(operators)-fewer.Copies)
		}
		measure.Say("%s: %.1f MB, %.1f KiB a copy more, %d mappings, started in %.1f s", what, float64(r.Idle.PSS)/1e6, r.PerGuest/1024, r.Idle.Mappings, r.StartMS/1000)
		if !loads {
			return
		}
		r.Few = b.load(t, w, name, false)
		r.All = b.load(t, w, name, true)
		ctx, stop := context.WithCancel(t.Context())
		var beside sync.WaitGroup
		if w.chains != nil {
			beside.Go(func() { b.few(ctx, w, name, nil) })
		}
		r.Squeezed = g.Squeeze(t, r.Idle.PSS-w.plus+r.Idle.PSS/4)
		stop()
		beside.Wait()
		if r.Squeezed != nil {
			r.Squeezed.Bytes += w.plus
			measure.Say("%s: few busy %.1f MB, p50 %.1f ms; all busy %.1f MB, p50 %.1f ms; squeezed %.1f MB (%s)", what, float64(r.Few.PSSMean)/1e6, r.Few.TookMS.P50,
				float64(r.All.PSSMean)/1e6, r.All.TookMS.P50, float64(r.Squeezed.Bytes)/1e6, r.Squeezed.Why)
		}
	}) {
		t.FailNow()
	}
	b.results = append(b.results, r)
}

// start returns when every copy has done some work.
func (b *bench) start(t *testing.T, language, way string, g *measure.Group, operators []harness.Operator, name string) running {
	w := running{copies: len(operators)}
	var processes []int
	w.pids = func() []int {
		if g != nil {
			return g.PIDs()
		}
		return processes
	}
	if way == "origin" {
		var modules []string
		for _, o := range operators {
			modules = append(modules, o.Module)
		}
		// As `dormouse ps` shows for a started operator.
		w.origin = measure.StartOrigin(t, g, map[string]uint64{"rust": 1900544, "go": 35651584}[language], modules)
		processes = append(processes, w.origin.PID)
		w.plus = b.empty
		return w
	}
	native := func(o harness.Operator, kubeconfig string) {
		env := []string{"KUBECONFIG=" + kubeconfig}
		for name, value := range o.Env {
			env = append(env, name+"="+value)
		}
		processes = append(processes, g.Start(t, harness.Command{Path: o.Native, Env: env}).PID)
	}
	switch way {
	case "native":
		kubeconfig := b.c.ServiceAccountKubeconfig(t, "default", "chain")
		for _, o := range operators {
			native(o, kubeconfig)
		}
	case "combined":
		var indexes []string
		for _, o := range operators {
			indexes = append(indexes, o.Env["CHAIN_INDEX"])
		}
		native(harness.Operator{Native: filepath.Join(os.Getenv("BENCH_COMBINED"), language), Env: map[string]string{"CHAIN_INDEXES": strings.Join(indexes, ",")}}, b.c.ServiceAccountKubeconfig(t, "default", "chain"))
	case "containers":
		kubeconfig := b.c.ServiceAccountKubeconfig(t, "default", "chain")
		containerd := measure.StartContainerd(t, g)
		for _, o := range operators {
			containerd.Run(t, o, kubeconfig)
		}
	default:
		manifest := ""
		for _, o := range operators {
			o.Annotations = map[string]string{"dormouse.io/sleep": map[string]string{"resident": "never", "asleep": "immediately"}[way]}
			manifest += "---\n" + o.Pod()
		}
		processes = append(processes, measure.StartHost(t, g, b.c.Kubeconfig, manifest).PID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for first := 0; first < len(operators); first += groupSize {
		last := min(first+groupSize, len(operators)) - 1
		chain := measure.NewChain(t, b.c, kind(first), kind(last), name)
		if err := chain.Send(ctx, name); err != nil {
			t.Fatal(err)
		}
		w.chains = append(w.chains, chain)
	}
	for _, chain := range w.chains {
		if _, err := chain.Await(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// load measures memory while few or all groups are busy.
func (b *bench) load(t *testing.T, w running, name string, all bool) *loaded {
	ctx, cancel := context.WithTimeout(t.Context(), loadTime)
	defer cancel()
	var took []float64
	var lock sync.Mutex
	note := func(d time.Duration) {
		lock.Lock()
		defer lock.Unlock()
		took = append(took, float64(d.Nanoseconds())/1e6)
	}
	var busy sync.WaitGroup
	if w.chains == nil {
		busy.Go(func() { b.comeAndGo(ctx, t, w, all, note) })
	} else if all {
		for _, chain := range w.chains {
			busy.Go(func() {
				for ctx.Err() == nil {
					if d, _, err := chain.Pass(ctx, name); err == nil {
						note(d)
					}
				}
			})
		}
	} else {
		busy.Go(func() { b.few(ctx, w, name, note) })
	}
	var l loaded
	var sum, samples uint64
	for ctx.Err() == nil {
		pss := measure.MemoryOf(w.pids()...).PSS + w.plus
		sum, samples = sum+pss, samples+1
		l.PSSMax = max(l.PSSMax, pss)
		select {
		case <-ctx.Done():
		case <-time.After(sampleEvery):
		}
	}
	busy.Wait()
	l.PSSMean, l.TookMS = sum/samples, measure.QuantilesOf(took)
	return &l
}

// comeAndGo is a load of the origin's way: no guest code runs there, so operators are in RAM for as long as the load
// wants them there, which is always if all are busy. Times are those of coming back, all operators of a group.
func (b *bench) comeAndGo(ctx context.Context, t *testing.T, w running, all bool, note func(time.Duration)) {
	for first := 0; ctx.Err() == nil; first = (first + groupSize) % w.copies {
		last := min(first+groupSize, w.copies)
		if all {
			first, last = 0, w.copies
		}
		took := 0.0
		for i := first; i < last; i++ {
			took += w.origin.In(t, i)
		}
		note(time.Duration(took) * time.Microsecond)
		select {
		case <-ctx.Done():
		case <-time.After(map[bool]time.Duration{true: loadTime, false: 50 * time.Millisecond}[all]):
		}
		for i := first; i < last; i++ {
			w.origin.Out(t, i)
		}
		if !all {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// few has one group at a time work, each second another.
func (b *bench) few(ctx context.Context, w running, name string, note func(time.Duration)) {
	random := rand.New(rand.NewPCG(1, 2))
	for ctx.Err() == nil {
		chain := w.chains[random.IntN(len(w.chains))]
		if d, _, err := chain.Pass(ctx, name); err == nil && note != nil {
			note(d)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
