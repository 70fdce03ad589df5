// SPDX-License-Identifier: Apache-2.0

// Package first measures what many copies of an operator cost in Dormouse and as native processes.
package first

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	settle       = 5 * time.Second  // After the last copy's first reconcile, before memory is read.
	idleWindow   = 20 * time.Second // Over which CPU at rest is counted.
	startTimeout = 4 * time.Minute
)

// counts of copies, and changes whose latency is measured each way. --quick is for trying the benchmark itself.
func sizes() (counts []int, changes int) {
	if os.Getenv("BENCH_QUICK") != "" {
		return []int{1, 3}, 20
	}
	return []int{1, 10, 50}, 250
}

var examples = "../../examples"

// subject is an operator that is measured.
type subject struct {
	Language    string
	args        []string
	files       []string
	distinctMax int
}

func (s subject) group() string { return s.Language + ".greeter.dormouse.example" }
func (s subject) resource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: s.group(), Version: "v1", Resource: "greetings"}
}

func (s subject) operator() harness.Operator {
	folder := os.Getenv("EXAMPLES")
	name := s.Language + "-greeter"
	return harness.Operator{Name: name, Namespace: "default", ServiceAccount: name, Args: s.args, MemoryLimit: "256Mi",
		Native: filepath.Join(folder, name), Module: filepath.Join(folder, name+".wasm")}
}

func subjects() []subject {
	goDistinct := 10
	if n, err := strconv.Atoi(os.Getenv("BENCH_DISTINCT_GO")); err == nil {
		goDistinct = n
	}
	return []subject{
		{"rust", nil, []string{"rust-greeter/crd.yaml", "rust-greeter/rbac.yaml"}, 50},
		{"go", []string{"--health-probe-bind-address=0"}, []string{"go-greeter/config/crd/bases/go.greeter.dormouse.example_greetings.yaml",
			"go-greeter/config/rbac/service_account.yaml", "go-greeter/config/rbac/role.yaml", "go-greeter/config/rbac/role_binding.yaml"}, goDistinct},
	}
}

// run is what one number of copies cost, one way.
type run struct {
	Operator     string  `json:"operator"`
	Runtime      string  `json:"runtime"`
	Copies       int     `json:"copies"`
	Distinct     bool    `json:"distinct"`
	PSSBytes     uint64  `json:"pss_bytes"`
	CgroupBytes  *uint64 `json:"cgroup_bytes"`
	StartFirstMS float64 `json:"start_first_ms"` // From exec to the first copy's first finished reconcile,
	StartP50MS   float64 `json:"start_p50_ms"`
	StartLastMS  float64 `json:"start_last_ms"` // and to the last one's.
	CPUPercent   float64 `json:"cpu_percent"`   // Of one core, while settling.
}

type latency struct {
	Operator string  `json:"operator"`
	Runtime  string  `json:"runtime"`
	Changes  int     `json:"changes"`
	P50MS    float64 `json:"p50_ms"`
	P99MS    float64 `json:"p99_ms"`
}

type bench struct {
	c         *harness.Cluster
	runs      []run
	latencies []latency
	report    *measure.Report
	sequence  int
}

func TestFirst(t *testing.T) {
	b := &bench{c: harness.SharedCluster(t), report: measure.NewReport()}
	for i := range 50 {
		b.c.Apply(t, "", fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", namespace(i)))
	}
	data := map[string]any{"distinct_go_copies_max": subjects()[1].distinctMax, "settle_s": settle.Seconds(), "idle_window_s": idleWindow.Seconds()}

	empty := b.emptyHost(t)
	data["empty_host_pss_bytes"] = empty
	b.report.Below("empty host PSS", float64(empty)/1e6, "MB", 15, "at most 15")
	for _, s := range subjects() {
		for _, file := range s.files {
			b.c.ApplyFile(t, "default", filepath.Join(examples, file))
		}
		b.latency(t, s)
	}
	idleFixtures, idleOperators := b.idleCPU(t, "idle fixtures", idlePods(t)), b.idleCPU(t, "Rust operators at rest", "")
	data["idle_cpu_percent_20_fixtures"], data["idle_cpu_percent_20_rust_operators"] = idleFixtures, idleOperators
	b.report.Below("host CPU with 20 idle guests", idleFixtures, "% of a core", 0.2, "below 0.2")
	counts, _ := sizes()
	for _, s := range subjects() {
		for _, count := range counts {
			for _, distinct := range []bool{false, true} {
				if distinct && (count == 1 || count > s.distinctMax) {
					continue // One copy is as distinct as can be.
				}
				native := b.copies(t, s, harness.Native{}.Name(), count, distinct)
				guests := b.copies(t, s, harness.Dormouse{}.Name(), count, distinct)
				b.compare(s, count, distinct, native, guests)
			}
		}
	}
	data["runs"], data["change_to_reconcile"] = b.runs, b.latencies
	b.report.Data = data
	b.report.Write(t)
}

func namespace(i int) string { return fmt.Sprintf("bench-%d", i) }

func (b *bench) compare(s subject, count int, distinct bool, native, guests run) {
	ratio := float64(guests.PSSBytes) / float64(native.PSSBytes)
	kind := map[bool]string{false: "identical", true: "distinct"}[distinct]
	limit := map[string]float64{"rust identical": 1.1, "rust distinct": 0.5, "go identical": 1.2}[s.Language+" "+kind]
	measure.Say("%d %s %s: %.1f MB PSS, native %.1f MB (%.2f); last start %.0f ms, native %.0f ms", count, kind, s.Language, float64(guests.PSSBytes)/1e6, float64(native.PSSBytes)/1e6, ratio, guests.StartLastMS, native.StartLastMS)
	if count == 50 && limit > 0 {
		b.report.Below(fmt.Sprintf("%s PSS of 50 %s copies, of native", s.Language, kind), ratio, "ratio", limit, fmt.Sprintf("at most %g", limit))
	}
}

// start runs operators one way; the clock starts with the first exec.
func (b *bench) start(t *testing.T, runtime string, g *measure.Group, operators []harness.Operator) ([]*harness.Process, time.Time) {
	t.Helper()
	var commands []harness.Command
	if runtime == "native" {
		for _, o := range operators {
			env := []string{"KUBECONFIG=" + b.c.ServiceAccountKubeconfig(t, o.Namespace, o.ServiceAccount), "HOSTNAME=" + o.Name}
			for name, value := range o.Env {
				env = append(env, name+"="+value)
			}
			commands = append(commands, harness.Command{Path: o.Native, Args: o.Args, Env: env})
		}
	} else {
		manifest := ""
		for _, o := range operators {
			manifest += "---\n" + o.Pod()
		}
		commands = append(commands, b.host(t, manifest))
	}
	var processes []*harness.Process
	began := time.Now()
	for _, command := range commands {
		processes = append(processes, g.Start(t, command))
	}
	return processes, began
}

func (b *bench) host(t *testing.T, manifest string) harness.Command {
	t.Helper()
	command, _ := measure.HostCommand(t, b.c.Kubeconfig, manifest, "--listen", "127.0.0.1:0")
	return command
}

func cpu(processes []*harness.Process) time.Duration { return measure.CPU(pids(processes)...) }

func pids(processes []*harness.Process) (all []int) {
	for _, p := range processes {
		all = append(all, p.PID)
	}
	return all
}

func stop(processes []*harness.Process) {
	for _, p := range processes {
		p.Stop(20 * time.Second)
	}
}

// inNamespaces gives each copy its own name and namespace.
func inNamespaces(operators []harness.Operator) []harness.Operator {
	for i := range operators {
		operators[i].Name = fmt.Sprintf("%s-%d", operators[i].Name, i)
		operators[i].Env = map[string]string{"WATCH_NAMESPACE": namespace(i)}
	}
	return operators
}

// copies starts so many copies, each with a Greeting to answer in its own namespace, and measures them at rest.
func (b *bench) copies(t *testing.T, s subject, runtime string, count int, distinct bool) (r run) {
	t.Helper()
	b.sequence++
	name := fmt.Sprintf("run%d", b.sequence)
	t.Run(fmt.Sprintf("%s-%s-%d-%v", s.Language, runtime, count, distinct), func(t *testing.T) {
		operators := inNamespaces(measure.Copies(t, s.operator(), count, distinct))
		for i := range count {
			b.c.Apply(t, namespace(i), fmt.Sprintf("{apiVersion: %s/v1, kind: Greeting, metadata: {name: %s}, spec: {name: World}}", s.group(), name))
		}
		g := measure.NewGroup(t, name)
		answers := b.answers(t, s, "", name)
		processes, began := b.start(t, runtime, g, operators)
		starts := map[string]float64{}
		for len(starts) < count {
			select {
			case a := <-answers:
				if _, known := starts[a.namespace]; !known {
					starts[a.namespace] = a.at.Sub(began).Seconds() * 1000
				}
			case <-time.After(startTimeout):
				t.Fatalf("%d of %d copies have reconciled after %v", len(starts), count, startTimeout)
			}
		}
		before, at := cpu(processes), time.Now()
		<-time.After(settle)
		used := cpu(processes) - before
		sorted := []float64{}
		for _, ms := range starts {
			sorted = append(sorted, ms)
		}
		slices.Sort(sorted)
		r = run{Operator: s.Language, Runtime: runtime, Copies: count, Distinct: distinct, PSSBytes: measure.MemoryOf(pids(processes)...).PSS, CgroupBytes: g.Bytes(),
			StartFirstMS: sorted[0], StartP50MS: sorted[len(sorted)/2], StartLastMS: sorted[len(sorted)-1], CPUPercent: 100 * used.Seconds() / time.Since(at).Seconds()}
		for i := range count { // By the operator, whose finalizer it is.
			b.delete(t, s, namespace(i), name)
		}
		stop(processes)
		for i := range count {
			b.release(t, s, namespace(i), name)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	b.runs = append(b.runs, r)
	return r
}

func (b *bench) delete(t *testing.T, s subject, namespace, name string) {
	t.Helper()
	b.c.Delete(t, s.resource(), namespace, name)
}

// release takes the finalizer off, if the operator has been stopped before it could.
func (b *bench) release(t *testing.T, s subject, namespace, name string) {
	t.Helper()
	_, err := b.c.Dynamic.Resource(s.resource()).Namespace(namespace).Patch(t.Context(), name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	if err != nil && !strings.Contains(err.Error(), "not found") {
		t.Fatal(err)
	}
}

type answer struct {
	namespace  string
	generation int64
	at         time.Time
}

// answers follows finished reconciles of Greetings of this name ("": namespace "" is all of them).
func (b *bench) answers(t *testing.T, s subject, namespace, name string) <-chan answer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	watcher, err := b.c.Dynamic.Resource(s.resource()).Namespace(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan answer, 1024)
	go func() {
		for event := range watcher.ResultChan() {
			at := time.Now()
			o, ok := event.Object.(*unstructured.Unstructured)
			if !ok || event.Type == watch.Deleted || o.GetDeletionTimestamp() != nil {
				continue
			}
			if observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration"); observed > 0 {
				answers <- answer{o.GetNamespace(), observed, at}
			}
		}
	}()
	return answers
}

// latency has a native process and a guest, each with its namespace, answer changes in turn: what else the machine
// does hits both alike.
func (b *bench) latency(t *testing.T, s subject) {
	t.Run("latency-"+s.Language, func(t *testing.T) {
		_, changes := sizes()
		operators := inNamespaces([]harness.Operator{s.operator(), s.operator()})
		ways := []string{"native", "dormouse"}
		var took [2][]float64
		var answers [2]<-chan answer
		for i, way := range ways {
			b.c.Apply(t, namespace(i), fmt.Sprintf("{apiVersion: %s/v1, kind: Greeting, metadata: {name: latency}, spec: {name: World}}", s.group()))
			answers[i] = b.answers(t, s, namespace(i), "latency")
			processes, _ := b.start(t, way, nil, operators[i:i+1])
			defer stop(processes)
		}
		for i := range ways {
			awaitAnswer(t, answers[i], 1)
		}
		for n := range changes {
			for i := range ways {
				patch := []byte(fmt.Sprintf(`{"spec":{"name":"change %d"}}`, n))
				began := time.Now()
				o, err := b.c.Dynamic.Resource(s.resource()).Namespace(namespace(i)).Patch(t.Context(), "latency", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "bench"})
				if err != nil {
					t.Fatal(err)
				}
				took[i] = append(took[i], awaitAnswer(t, answers[i], o.GetGeneration()).Sub(began).Seconds()*1000)
			}
		}
		for i, way := range ways {
			slices.Sort(took[i])
			b.latencies = append(b.latencies, latency{s.Language, way, changes, took[i][changes/2], took[i][changes*99/100]})
			b.delete(t, s, namespace(i), "latency")
		}
		native, guest := took[0][changes/2], took[1][changes/2]
		measure.Say("%s change to reconcile: p50 %.1f ms, native %.1f ms; p99 %.1f ms, native %.1f ms", s.Language, guest, native, took[1][changes*99/100], took[0][changes*99/100])
		b.report.Below(s.Language+" change to finished reconcile p50, of native", guest/native, "ratio", 1.3, "at most 1.3")
	})
	if t.Failed() {
		t.FailNow()
	}
	for i := range 2 {
		b.release(t, s, namespace(i), "latency")
	}
}

func awaitAnswer(t *testing.T, answers <-chan answer, generation int64) time.Time {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case a := <-answers:
			if a.generation >= generation {
				return a.at
			}
		case <-timeout:
			t.Fatalf("no answer to generation %d within a minute", generation)
		}
	}
}

// emptyHost is what a host takes that has connected and waits, and has never loaded a module.
func (b *bench) emptyHost(t *testing.T) (bytes uint64) {
	t.Run("empty", func(t *testing.T) {
		pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: waits}\nspec: {containers: [{name: c, image: " + filepath.Join(os.Getenv("GUESTS"), "idle.wasm") + ", envFrom: [{configMapRef: {name: never}}]}]}\n"
		var none *measure.Group
		p := none.Start(t, b.host(t, pod))
		p.AwaitLine(t, "pod waits", time.Minute)
		bytes = measure.MemoryOf(p.PID).PSS
	})
	if t.Failed() {
		t.FailNow()
	}
	return bytes
}

func idlePods(t *testing.T) string {
	text := ""
	for i := range 20 {
		text += fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: idle-%d}\nspec: {containers: [{name: c, image: %s}]}\n", i, filepath.Join(os.Getenv("GUESTS"), "idle.wasm"))
	}
	return text
}

// idleCPU is the host's CPU time in percent of a core, with 20 guests at rest: those of the manifest, or Rust operators.
func (b *bench) idleCPU(t *testing.T, what, manifest string) (percent float64) {
	t.Run(strings.ReplaceAll(what, " ", "-"), func(t *testing.T) {
		pattern := `\| idle$`
		if manifest == "" {
			pattern = `rust_greeter: starting`
			for _, o := range inNamespaces(measure.Copies(t, subjects()[0].operator(), 20, false)) {
				manifest += "---\n" + o.Pod()
			}
		}
		var none *measure.Group
		processes := []*harness.Process{none.Start(t, b.host(t, manifest))}
		if _, err := processes[0].AwaitLines(pattern, 20, startTimeout); err != nil {
			t.Fatal(err)
		}
		<-time.After(settle)
		before := cpu(processes)
		<-time.After(idleWindow)
		percent = 100 * (cpu(processes) - before).Seconds() / idleWindow.Seconds()
		measure.Say("20 %s: %.3f %% of a core", what, percent)
		stop(processes)
	})
	if t.Failed() {
		t.FailNow()
	}
	return percent
}
