// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/bench/fakeapi"
	"dormouse.dev/bench/measure"
	"dormouse.dev/e2e/harness"

	"k8s.io/client-go/tools/clientcmd"
)

const (
	latencyPath    = "/apis/chain.dormouse.example/v1/link0s?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
	eventInterval  = time.Millisecond
	stalledReaders = 10
)

var emittedAt = regexp.MustCompile(`"number":(\d+)`)

// deliveryLatency measures from an event's birth in the API server to its bytes at a client, at 1,000 events a second and
// beside ten clients that have stopped reading: through Dormouse, and straight from the same API server at the same time.
// Each event carries the time it was made.
func (b *bench) deliveryLatency(t *testing.T) {
	server := fakeapi.Start(t, 1)
	config, err := clientcmd.BuildConfigFromFlags("", server.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	p := harness.StartDormouse(t, b.c, []string{"proxy", "--port", "0", "--kubeconfig", server.Kubeconfig})
	proxied := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(p.AwaitLine(t, `http://127\.0\.0\.1:\d+`, 30*time.Second))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func(address string) io.ReadCloser {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // Loopback; only time is measured.
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, address+latencyPath, nil)
		request.Header.Set("Authorization", "Bearer bench")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(response.Body)
			t.Fatalf("%s: %s: %s", address, response.Status, text)
		}
		return response.Body
	}
	for range stalledReaders {
		open(proxied)
	}
	count := 20_000
	if b.pods < 1000 {
		count = 1000
	}
	read := func(address string, outcome chan<- []float64) {
		lines := bufio.NewScanner(open(address))
		lines.Buffer(nil, 1<<20)
		var micros []float64
		for lines.Scan() {
			now := time.Now().UnixNano()
			if m := emittedAt.FindStringSubmatch(lines.Text()); m != nil && !strings.Contains(lines.Text(), `"BOOKMARK"`) {
				at, _ := strconv.ParseInt(m[1], 10, 64)
				if micros = append(micros, float64(now-at)/1e3); len(micros) == count {
					break
				}
			}
		}
		if err := lines.Err(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		outcome <- micros
	}
	through, direct := make(chan []float64, 1), make(chan []float64, 1)
	go read(proxied, through)
	go read(config.Host, direct)
	tick := time.NewTicker(eventInterval)
	defer tick.Stop()
	for len(through) == 0 || len(direct) == 0 {
		select {
		case <-tick.C:
			server.Emit("link0s", "measured", time.Now().UnixNano())
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	ours, baseline := measure.QuantilesOf(<-through), measure.QuantilesOf(<-direct)
	b.data["delivery_us"] = map[string]any{"dormouse": ours, "direct": baseline, "stalled_readers": stalledReaders}
	measure.Say("event to client, us: through Dormouse %s; direct %s", ours, baseline)
	b.report.AtMost("event to a client's buffer at 1000/s beside ten stalled, p99", ours.P99/1e3, "ms", 2)
	p.Stop(10 * time.Second)
}
