// SPDX-License-Identifier: Apache-2.0

// Package cache measures the shared watch cache: how fast it delivers, what it holds beside native informers, what many
// readers cost at once, and what the API server is spared.
package cache

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestMain(m *testing.M) { harness.Main(m) }

func intOrString(n int) intstr.IntOrString { return intstr.FromInt32(int32(n)) }

type sizes struct {
	pods, readers, direct, operators int
}

func size() sizes {
	if os.Getenv("BENCH_QUICK") != "" {
		return sizes{200, 10, 5, 5}
	}
	return sizes{10_000, 100, 10, 100}
}

type bench struct {
	c      *harness.Cluster
	report *measure.Report
	data   map[string]any
	sizes
	kubeconfig string // Of a ServiceAccount that may read everything, with a bearer token.
	token      string
}

func TestCache(t *testing.T) {
	b := &bench{c: harness.SharedCluster(t), report: measure.NewReport(), data: map[string]any{}, sizes: size()}
	b.identity(t)
	b.deliveryLatency(t)
	b.operatorsAtTheServer(t)
	makePods(t, b.c, b.pods)
	list, average := podJSON(t, b.c)
	b.data["pods"], b.data["pod_json_bytes"] = b.pods, average
	measure.Say("%d pods of %.1f kB", b.pods, average/1e3)
	file := filepath.Join(t.TempDir(), "pods.json")
	if err := os.WriteFile(file, list, 0o644); err != nil {
		t.Fatal(err)
	}
	b.inProcess(t, file)
	b.informers(t, float64(len(list)))
	b.readers(t)
	b.report.Data = b.data
	b.report.Write(t)
}

func (b *bench) identity(t *testing.T) {
	b.c.Apply(t, "default", `
apiVersion: v1
kind: ServiceAccount
metadata: {name: bench-reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: bench-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: bench-reader, namespace: default}]
`)
	b.kubeconfig = b.c.ServiceAccountKubeconfig(t, "default", "bench-reader")
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	b.token = config.BearerToken
}

// inProcess runs the part that needs no cluster: deliveries by subscribers, bytes held, many readers.
func (b *bench) inProcess(t *testing.T, pods string) {
	out, err := exec.Command(os.Getenv("BENCH_IN_PROCESS"), pods).Output()
	if err != nil {
		t.Fatalf("%s: %v", os.Getenv("BENCH_IN_PROCESS"), err)
	}
	var result struct {
		FanOut []struct {
			Objects     string  `json:"objects"`
			Subscribers int     `json:"subscribers"`
			PerSecond   float64 `json:"deliveries_per_second"`
		} `json:"fan_out"`
		WarmRatio float64 `json:"warm_ratio"`
		ColdRatio float64 `json:"cold_ratio"`
		ListExtra float64 `json:"list_extra_bytes_per_reader"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.data["in_process"] = json.RawMessage(out)
	for _, d := range result.FanOut {
		if d.Objects == "pod" {
			continue // 14.5 kB each, copied: that is a measure of memory bandwidth.
		}
		b.report.AtLeast(fmt.Sprintf("deliveries to %d subscribers", d.Subscribers), d.PerSecond, "1/s on one core", 500_000)
	}
	b.report.AtMost("held for all pods, of their JSON", result.WarmRatio, "ratio", 1.1)
	b.report.AtMost("held for all pods when cold, of their JSON", result.ColdRatio, "ratio", 0.4)
	b.report.AtMost("extra memory a reader of a LIST, in process", result.ListExtra/1024, "KiB", 256)
}

// proxy starts `dormouse proxy` and yields its address.
func (b *bench) proxy(t *testing.T, args ...string) (*harness.Process, string) {
	p := harness.StartDormouse(t, b.c, append([]string{"proxy", "--port", "0"}, args...))
	line := p.AwaitLine(t, `http://127\.0\.0\.1:\d+`, 30*time.Second)
	return p, regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(line)
}

type holding struct {
	How      string  `json:"how"`
	Copies   int     `json:"copies"`
	PSSBytes float64 `json:"pss_bytes"` // More than with nothing held.
	OfJSON   float64 `json:"of_json"`
	Measured bool    `json:"measured"`
}

// informers compares what Dormouse holds for all pods with what native informers hold.
func (b *bench) informers(t *testing.T, jsonBytes float64) {
	var held []holding
	add := func(how string, copies int, bytes float64, measured bool) {
		held = append(held, holding{how, copies, bytes, bytes / jsonBytes, measured})
		measure.Say("%d %s: %.0f MB (%.2f of the JSON)", copies, how, bytes/1e6, bytes/jsonBytes)
	}
	native := func(n int) float64 {
		p := harness.StartProcess(t, harness.Command{Name: "informers", Path: os.Getenv("BENCH_INFORMERS"), Args: []string{strconv.Itoa(n)}, Env: []string{"KUBECONFIG=" + b.kubeconfig}})
		p.AwaitLine(t, "^synced", 10*time.Minute)
		pss := harness.Measure(t, p.PID).PSSBytes
		p.Stop(10 * time.Second)
		return float64(pss)
	}
	none := native(0)
	one, ten := native(1)-none, native(10)-none
	add("native informers", 1, one, true)
	add("native informers", 10, ten, true)
	add("native informers", 100, ten*10, false) // 100 would not fit into this machine.
	p, address := b.proxy(t)
	before := harness.Measure(t, p.PID).PSSBytes
	watch := b.open(t, address, "/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	defer watch.Close()
	lines := bufio.NewReaderSize(watch, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "k8s.io/initial-events-end") {
			break
		}
	}
	grown := float64(harness.Measure(t, p.PID).PSSBytes - before)
	add("Dormouse", 1, grown, true)
	b.data["held"] = held
	b.data["held_dormouse_of_100_native"] = grown / (ten * 10)
	p.Stop(10 * time.Second)
}

func (b *bench) client(address string) *http.Client {
	transport := &http.Transport{MaxConnsPerHost: 0, DisableCompression: true}
	if strings.HasPrefix(address, "https") {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // Loopback; only time is measured.
	}
	return &http.Client{Transport: transport}
}

func (b *bench) open(t *testing.T, address, path string) io.ReadCloser {
	t.Helper()
	response, err := b.get(b.client(address), address, path)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func (b *bench) get(client *http.Client, address, path string) (io.ReadCloser, error) {
	request, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, address+path, nil)
	request.Header.Set("Authorization", "Bearer "+b.token)
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		return nil, fmt.Errorf("%s: %s: %s", path, response.Status, text)
	}
	return response.Body, nil
}

// listAtOnce lets n readers LIST all pods at once; each throws away what it reads. Yields the time until the last has all.
func (b *bench) listAtOnce(t *testing.T, address string, n int) (time.Duration, int64) {
	t.Helper()
	client := b.client(address)
	began := time.Now()
	var readers sync.WaitGroup
	failures, sizes := make(chan error, n), make(chan int64, n)
	for range n {
		readers.Go(func() {
			body, err := b.get(client, address, "/api/v1/pods?resourceVersion=0")
			if err != nil {
				failures <- err
				return
			}
			defer body.Close()
			size, err := io.Copy(io.Discard, body)
			if err != nil {
				failures <- err
			}
			sizes <- size
		})
	}
	readers.Wait()
	close(failures)
	if err := <-failures; err != nil {
		t.Fatal(err)
	}
	return time.Since(began), <-sizes
}

func (b *bench) readers(t *testing.T) {
	p, address := b.proxy(t)
	watch := b.open(t, address, "/api/v1/pods?watch=true") // Keeps the cache.
	defer watch.Close()
	b.listAtOnce(t, address, 1)
	resetPeak(t, p.PID)
	before := memory(t, p.PID, "VmRSS")
	took, bytes := b.listAtOnce(t, address, b.sizes.readers)
	peak := memory(t, p.PID, "VmHWM")
	extra := float64(peak-min(peak, before)) / float64(b.sizes.readers)
	fewer, _ := b.listAtOnce(t, address, b.direct)
	direct, _ := b.listAtOnce(t, b.c.Server, b.direct)
	b.data["readers"] = map[string]any{
		"readers": b.sizes.readers, "list_bytes": bytes, "seconds": took.Seconds(), "extra_bytes_a_reader": extra,
		"direct_readers": b.direct, "direct_seconds": direct.Seconds(), "dormouse_seconds_for_as_many": fewer.Seconds(),
	}
	measure.Say("LIST of %.0f MB by %d readers at once: %.1f s; by %d: %.1f s, API server %.1f s", float64(bytes)/1e6, b.sizes.readers, took.Seconds(), b.direct, fewer.Seconds(), direct.Seconds())
	b.report.AtMost("extra memory a reader of a LIST, of the process at its peak", extra/1024, "KiB", 256)
	b.report.AtMost("time of a LIST by readers at once, of the API server's own", fewer.Seconds()/direct.Seconds(), "ratio", 1)
	p.Stop(10 * time.Second)
}

// resetPeak makes VmHWM begin anew (proc(5), clear_refs).
func resetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0o200); err != nil {
		t.Fatal(err)
	}
}

func memory(t *testing.T, pid int, field string) uint64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == field+":" {
			kilobytes, _ := strconv.ParseUint(words[1], 10, 64)
			return kilobytes * 1024
		}
	}
	t.Fatalf("no %s", field)
	return 0
}

// load is what an API server's own metrics say.
type load struct {
	Watches  float64 `json:"watches"`  // Open now.
	Requests float64 `json:"requests"` // Ever, without those of the control plane's own parts.
}

var metricLine = regexp.MustCompile(`^(apiserver_longrunning_requests|apiserver_request_total)\{([^}]*)\} (\S+)`)

// serverLoad counts what concerns the greeters' group, and SelfSubjectAccessReviews, which only Dormouse asks for.
func (b *bench) serverLoad(t *testing.T) load {
	t.Helper()
	config := rest.CopyConfig(b.c.Config)
	text, err := b.c.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err, config.Host)
	}
	var l load
	for line := range strings.Lines(string(text)) {
		m := metricLine.FindStringSubmatch(line)
		if m == nil || !(strings.Contains(m[2], "greeter.dormouse.example") || strings.Contains(m[2], `resource="selfsubjectaccessreviews"`)) {
			continue
		}
		value, _ := strconv.ParseFloat(m[3], 64)
		if m[1] == "apiserver_request_total" {
			l.Requests += value
		} else if strings.Contains(m[2], `verb="WATCH"`) {
			l.Watches += value
		}
	}
	return l
}

// operatorsAtTheServer starts many operators that watch one resource, with the cache and without, and asks the API server what it saw.
func (b *bench) operatorsAtTheServer(t *testing.T) {
	examples := "../../examples"
	for _, file := range []string{"rust-greeter/crd.yaml", "rust-greeter/rbac.yaml"} {
		b.c.ApplyFile(t, "default", filepath.Join(examples, file))
	}
	b.c.Apply(t, "default", "{apiVersion: rust.greeter.dormouse.example/v1, kind: Greeting, metadata: {name: hello}, spec: {name: World}}")
	folder := os.Getenv("EXAMPLES")
	outcome := map[string]load{}
	for _, way := range []string{"true", "false"} {
		var operators []harness.Operator
		for i := range b.operators {
			operators = append(operators, harness.Operator{Name: fmt.Sprintf("greeter-%d", i), Namespace: "default", ServiceAccount: "rust-greeter", MemoryLimit: "64Mi", Module: filepath.Join(folder, "rust-greeter.wasm")})
		}
		before := b.serverLoad(t)
		running := harness.Dormouse{Args: []string{"--watch-cache=" + way}}.Start(t, b.c, operators...)
		// All of them have come to rest when a change of theirs has reached each: they write the same status, so that only one write changes anything.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		b.atRest(ctx, t)
		cancel()
		now := b.serverLoad(t)
		outcome[way] = load{now.Watches - before.Watches, now.Requests - before.Requests}
		measure.Say("%d operators, --watch-cache=%s: %.0f watches and %.0f requests at the API server", b.operators, way, outcome[way].Watches, outcome[way].Requests)
		for _, p := range running.Processes {
			p.Stop(30 * time.Second)
			break
		}
	}
	b.data["at_the_server"] = map[string]any{"operators": b.operators, "with": outcome["true"], "without": outcome["false"]}
	b.report.Below("watches at the API server, of those without the cache", outcome["true"].Watches/outcome["false"].Watches, "ratio", 0.05, "at most 0.05")
}

// atRest waits until the API server's own counts have not changed for ten looks.
func (b *bench) atRest(ctx context.Context, t *testing.T) {
	var last []load
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.Fatal("the operators do not come to rest")
		case <-tick.C:
		}
		now := b.serverLoad(t)
		if last = append(last, now); len(last) > 10 {
			last = last[1:]
		}
		still := slices.IndexFunc(last, func(l load) bool { return l.Watches != now.Watches }) < 0
		if still && len(last) == 10 && now.Watches > 0 {
			return
		}
	}
}
