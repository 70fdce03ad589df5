// SPDX-License-Identifier: Apache-2.0

// Package chain measures an object's way through a hundred operators (examples/chain): native processes, guests that stay
// in RAM, and guests that leave RAM as soon as they have nothing to do.
package chain

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestMain(m *testing.M) { harness.Main(m) }

// The ways to run the chain. All run at once, each with kinds of its own, and take turns: what else the machine does hits
// all alike.
var ways = []string{"native", "resident", "immediately"}

const (
	startTimeout = 6 * time.Minute
	tripTimeout  = 2 * time.Minute
	pause        = 300 * time.Millisecond // Between trips: long enough that all have left RAM again.
)

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

type outcome struct {
	Language string            `json:"language"`
	Way      string            `json:"way"`
	Length   int               `json:"length"`
	TripMS   measure.Quantiles `json:"trip_ms"` // From the request that makes the first object to the last one's arrival on a watch.
	HopMS    measure.Quantiles `json:"hop_ms"`  // From one operator's seeing an object to the next one's.
	PSS      uint64            `json:"pss_bytes"`
}

func TestChain(t *testing.T) {
	c := harness.SharedCluster(t)
	length, trips := number("BENCH_LENGTH", 100), number("BENCH_TRIPS", 30)
	measure.SetUpChain(t, c, len(ways)*(length+1))
	report := measure.NewReport()
	languages := "rust,go"
	if chosen := os.Getenv("BENCH_LANGUAGES"); chosen != "" {
		languages = chosen
	}
	var outcomes []outcome
	for _, language := range strings.Split(languages, ",") {
		t.Run(language, func(t *testing.T) {
			outcomes = append(outcomes, measureLanguage(t, c, report, language, length, trips)...)
		})
		report.Data["chains"] = outcomes
		report.Write(t)
	}
}

func start(t *testing.T, c *harness.Cluster, way string, operators []harness.Operator) []int {
	if way == "native" {
		kubeconfig := c.ServiceAccountKubeconfig(t, "default", "chain")
		var pids []int
		for _, o := range operators {
			env := []string{"KUBECONFIG=" + kubeconfig}
			for name, value := range o.Env {
				env = append(env, name+"="+value)
			}
			pids = append(pids, harness.StartProcess(t, harness.Command{Name: o.Name, Path: o.Native, Env: env}).PID)
		}
		return pids
	}
	manifest := ""
	for _, o := range operators {
		o.Annotations = map[string]string{"dormouse.io/sleep": map[string]string{"resident": "never", "immediately": "immediately"}[way]}
		manifest += "---\n" + o.Pod()
	}
	return []int{measure.StartHost(t, nil, c.Kubeconfig, manifest).PID}
}

func measureLanguage(t *testing.T, c *harness.Cluster, report *measure.Report, language string, length, trips int) []outcome {
	chains, pids := map[string]*measure.Chain{}, map[string][]int{}
	name := "trip-" + language
	for i, way := range ways {
		first := i * (length + 1)
		var operators []harness.Operator
		for k := range length {
			operators = append(operators, measure.ChainOperator(language, first+k))
		}
		chains[way] = measure.NewChain(t, c, first, first+length-1, name)
		began := time.Now()
		pids[way] = start(t, c, way, operators)
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		_, _, err := chains[way].Pass(ctx, name) // Passes when the last operator is up.
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		measure.Say("%s %s: %d operators up after %.1f s", language, way, length, time.Since(began).Seconds())
	}
	trip, hop := map[string][]float64{}, map[string][]float64{}
	for n := range trips {
		for _, way := range ways {
			<-time.After(pause)
			ctx, cancel := context.WithTimeout(t.Context(), tripTimeout)
			took, arrival, err := chains[way].Pass(ctx, name)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				continue // Warms caches of every way.
			}
			trip[way] = append(trip[way], milliseconds(took))
			hop[way] = append(hop[way], hops(t, arrival.Object, chains[way])...)
		}
	}
	var outcomes []outcome
	for _, way := range ways {
		o := outcome{language, way, length, measure.QuantilesOf(trip[way]), measure.QuantilesOf(hop[way]), measure.MemoryOf(pids[way]...).PSS}
		measure.Say("%s %s: trip ms %v; hop ms %v; %.1f MB", language, way, o.TripMS, o.HopMS, float64(o.PSS)/1e6)
		outcomes = append(outcomes, o)
	}
	native, asleep := outcomes[0], outcomes[2]
	report.AtMost(language+" chain of "+fmt.Sprint(length)+" with immediate unloading, p50 of native", asleep.TripMS.P50/native.TripMS.P50, "ratio", 1.2)
	report.AtMost(language+" chain of "+fmt.Sprint(length)+" with immediate unloading, p99 of native", asleep.TripMS.P99/native.TripMS.P99, "ratio", 1.2)
	report.AtMost(language+" hop with immediate unloading, p50 of native", asleep.HopMS.P50/native.HopMS.P50, "ratio", 1.2)
	report.AtMost(language+" hop with immediate unloading, p99 of native", asleep.HopMS.P99/native.HopMS.P99, "ratio", 1.2)
	return outcomes
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// hops reads from the last object when each operator saw it.
func hops(t *testing.T, o *unstructured.Unstructured, chain *measure.Chain) (took []float64) {
	var before time.Time
	for i := chain.First; i <= chain.Last; i++ {
		seen, err := time.Parse(time.RFC3339Nano, o.GetAnnotations()[fmt.Sprintf("%s/seen-%d", measure.ChainGroup, i)])
		if err != nil {
			t.Fatal(err)
		}
		if i > chain.First {
			took = append(took, milliseconds(seen.Sub(before)))
		}
		before = seen
	}
	return took
}
