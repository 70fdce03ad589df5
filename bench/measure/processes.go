// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// CPU is the time on a processor of all threads of some processes, in nanoseconds as the scheduler counts it.
func CPU(pids ...int) time.Duration {
	var sum int64
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			first, _, _ := strings.Cut(string(text), " ")
			n, _ := strconv.ParseInt(first, 10, 64)
			sum += n
		}
	}
	return time.Duration(sum)
}

// Memory of some processes, in bytes: what they hold, shared pages divided among those who share them, and the page tables
// for it, which PSS leaves out.
type Memory struct {
	PSS        uint64 `json:"pss_bytes"`
	PageTables uint64 `json:"page_table_bytes"`
	Mappings   int    `json:"mappings"`
}

// MemoryOf leaves out processes that have ended.
func MemoryOf(pids ...int) (m Memory) {
	kilobytes := func(text []byte, name string) uint64 {
		_, after, _ := bytes.Cut(text, []byte(name))
		words := bytes.Fields(after)
		if len(words) == 0 {
			return 0
		}
		n, _ := strconv.ParseUint(string(words[0]), 10, 64)
		return n * 1024
	}
	for _, pid := range pids {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		m.PSS += kilobytes(rollup, "\nPss:")
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		m.PageTables += kilobytes(status, "\nVmPTE:")
		maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		m.Mappings += bytes.Count(maps, []byte("\n"))
	}
	return m
}

// Host is a running `dormouse run`.
type Host struct {
	*harness.Process
	Socket string
}

// HostCommand is `dormouse run` of a manifest; the socket is its second result.
func HostCommand(t testing.TB, kubeconfig, manifest string, arguments ...string) (harness.Command, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, socket := filepath.Join(dir, "pods"), filepath.Join(dir, "s")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	const filePods = 500 // A file of more than 4 MiB is refused.
	pods := strings.Split(manifest, "---\n")
	for n := 0; n*filePods < len(pods); n++ {
		text := strings.Join(pods[n*filePods:min(len(pods), (n+1)*filePods)], "---\n")
		if err := os.WriteFile(filepath.Join(path, fmt.Sprintf("%d.yaml", n)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	arguments = append([]string{"run", "-f", path, "--socket", socket}, arguments...)
	// The digests of copies that live as long as a test are not worth remembering.
	return harness.Command{Path: os.Getenv("DORMOUSE"), Args: arguments, Env: []string{"KUBECONFIG=" + kubeconfig, "DORMOUSE_CACHE=" + dir}}, socket
}

// StartHost runs a manifest in a group.
func StartHost(t testing.TB, g *Group, kubeconfig, manifest string, arguments ...string) *Host {
	t.Helper()
	command, socket := HostCommand(t, kubeconfig, manifest, arguments...)
	return &Host{g.Start(t, command), socket}
}

// get asks the host over its unix socket.
func (h *Host) get(t testing.TB, path string) []byte {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", h.Socket) }}}
	response, err := client.Get("http://dormouse" + path)
	if err != nil {
		t.Fatalf("asking the host for %s: %v", path, err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// Metrics are the samples of /metrics, by name with labels.
func (h *Host) Metrics(t testing.TB) map[string]float64 {
	t.Helper()
	samples := map[string]float64{}
	for _, line := range strings.Split(string(h.get(t, "/metrics")), "\n") {
		if end := strings.LastIndexByte(line, ' '); end > 0 && line[0] != '#' {
			if value, err := strconv.ParseFloat(line[end+1:], 64); err == nil {
				samples[line[:end]] = value
			}
		}
	}
	return samples
}

// Sum adds the samples of a metric over all labels that contain `labels`.
func Sum(samples map[string]float64, name, labels string) (sum float64) {
	for key, value := range samples {
		if (key == name || strings.HasPrefix(key, name+"{")) && strings.Contains(key, labels) {
			sum += value
		}
	}
	return sum
}
