// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// `dormouse build` makes a guest of an ordinary source tree and leaves that tree as it was, to the byte.
func TestBuildLeavesTheSourceTreeAsItWas(t *testing.T) {
	for _, example := range []struct {
		name string
		args []string
	}{
		{"cpp-greeter", nil},
		{"chain-rust", []string{"--no-compile"}},
		{"chain-go", []string{"--no-compile"}},
	} {
		t.Run(example.name, func(t *testing.T) {
			source, err := filepath.Abs(filepath.Join(examplesFolder, example.name))
			if err != nil {
				t.Fatal(err)
			}
			before := treeDigest(t, source)
			output := filepath.Join(t.TempDir(), "out.wasm")
			command := exec.CommandContext(t.Context(), wanted(t, "DORMOUSE"), append([]string{"build", source, "-o", output}, example.args...)...)
			said, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if after := treeDigest(t, source); after != before {
				t.Errorf("the tree was\n%s\nand is\n%s", before, after)
			}
			checked := dormouse(t, "check", output)
			if checked.code != 0 || !strings.Contains(checked.stdout, "wasi_snapshot_preview1") {
				t.Errorf("dormouse check: %+v", checked)
			}
			_, err = os.Stat(strings.TrimSuffix(output, ".wasm") + ".cwasm")
			if compiled := len(example.args) == 0; compiled != (err == nil) {
				t.Errorf("the .cwasm: %v", err)
			}
			for _, word := range []string{"imports", "memory"} {
				if !strings.Contains(strings.ToLower(string(said)), word) {
					t.Errorf("nothing is said of %s:\n%s", word, said)
				}
			}
		})
	}
}

func TestBuildSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	oneComplaint(t, dormouse(t, "build", t.TempDir()), "go.mod", "Cargo.toml", "CMakeLists.txt")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := dormouseWith(t, []string{"PATH=/nowhere"}, "build", dir)
	if o.code == 0 || !strings.Contains(o.stderr, "Go") || !strings.Contains(strings.ToLower(o.stderr), "install") {
		t.Errorf("without Go: %+v", o)
	}
}

func TestCheckTellsWhatAModuleNeeds(t *testing.T) {
	t.Parallel()
	o := dormouse(t, "check", guest(t, "kube_get"))
	for _, word := range []string{"kube_get.wasm", "wasi_snapshot_preview1", "memory"} {
		if !strings.Contains(o.stdout, word) {
			t.Errorf("no word of %q:\n%s", word, o.stdout)
		}
	}
	if o.code != 0 {
		t.Errorf("%+v", o)
	}
}
