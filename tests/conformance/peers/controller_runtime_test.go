// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
)

// controller-runtime's own suites, from the Go module that examples/go-greeter is built with. They are made for
// envtest: an API server and etcd alone, and no admission of ServiceAccounts.
var envtest = []string{"--with", "apiserver", "--no-wait-sa", "--apiserver-arg=--disable-admission-plugins=ServiceAccount"}

func TestControllerRuntimeCache(t *testing.T)  { t.Parallel(); controllerRuntime(t, "cache", 276) }
func TestControllerRuntimeClient(t *testing.T) { t.Parallel(); controllerRuntime(t, "client", 333) }

func controllerRuntime(t *testing.T, name string, specs int) {
	greeter := repository(t, "examples", "go-greeter")
	const module = "sigs.k8s.io/controller-runtime"
	tool(t, greeter, nil, "go", "mod", "download", module)
	source := strings.TrimSpace(string(tool(t, greeter, nil, "go", "list", "-m", "-f", "{{.Dir}}", module)))
	binary := filepath.Join(cache(t, filepath.Base(source)), name+".test")
	if _, err := os.Stat(binary); err != nil {
		// In its own module, by its own go.mod and go.sum: these are the versions that it was released with.
		tool(t, source, []string{"CGO_ENABLED=0"}, "go", "test", "-mod=readonly", "-trimpath", "-c", "-o", binary+".new", "./pkg/"+name)
		if err := os.Rename(binary+".new", binary); err != nil {
			t.Fatal(err)
		}
	}
	suite(t, envtest, func(t *testing.T, to *target.Target) {
		result := filepath.Join(t.TempDir(), "report.xml")
		// Some specs give the server a second; on a loaded machine that is short. A failure is one that comes three times.
		ctx := target.Within(t, 8*time.Minute, "controller-runtime's suite")
		command := exec.CommandContext(ctx, binary, "-ginkgo.no-color", "-ginkgo.junit-report="+result, "-ginkgo.seed=1", "-ginkgo.flake-attempts=3")
		command.Dir = filepath.Join(source, "pkg", name) // Where its testdata is.
		command.Env = append(os.Environ(), "USE_EXISTING_CLUSTER=true", "KUBECONFIG="+to.Kubeconfig)
		output, _ := command.CombinedOutput()
		content, err := os.ReadFile(result)
		if err != nil {
			t.Fatalf("no report (%v); the suite said:\n%s", err, output)
		}
		var junit struct {
			Suites []struct {
				Cases []struct {
					Name    string `xml:"name,attr"`
					Status  string `xml:"status,attr"`
					Failure *struct {
						Message string `xml:"message,attr"`
						Text    string `xml:",chardata"`
					} `xml:"failure"`
					Error *struct {
						Message string `xml:"message,attr"`
						Text    string `xml:",chardata"`
					} `xml:"error"`
				} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		if err := xml.Unmarshal(content, &junit); err != nil {
			t.Fatal(err)
		}
		var outcomes []outcome
		for _, s := range junit.Suites {
			for _, c := range s.Cases {
				o := outcome{name: strings.TrimPrefix(c.Name, "[It] ")}
				switch {
				case strings.HasPrefix(c.Name, "[BeforeSuite]"), strings.HasPrefix(c.Name, "[AfterSuite]"):
					if c.Failure == nil && c.Error == nil {
						continue
					}
				case c.Status == "pending":
					o.skipped = "pending: written down by its authors, not yet a test"
				case c.Status == "skipped":
					o.skipped = "skipped by the suite itself"
				}
				if c.Failure != nil {
					o.failure = c.Failure.Message + "\n" + cut(c.Failure.Text, 1500)
				}
				if c.Error != nil {
					o.failure = c.Error.Message + "\n" + cut(c.Error.Text, 1500)
				}
				outcomes = append(outcomes, o)
			}
		}
		report(t, outcomes, specs)
	})
}

func cut(text string, length int) string {
	if len(text) > length {
		return text[:length] + "…"
	}
	return text
}
