// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
)

// outcome is how a program's run went.
type outcome struct {
	code           int
	stdout, stderr string
}

// dormouse runs the binary to its end, without a cluster.
func dormouse(t testing.TB, args ...string) outcome {
	t.Helper()
	return dormouseWith(t, nil, args...)
}

func dormouseWith(t testing.TB, env []string, args ...string) outcome {
	t.Helper()
	command := exec.CommandContext(t.Context(), wanted(t, "DORMOUSE"), args...)
	command.Env = append(append(os.Environ(), "KUBECONFIG="), env...)
	var out, err strings.Builder
	command.Stdout, command.Stderr = &out, &err
	timer := time.AfterFunc(2*time.Minute, func() { command.Process.Kill() }) //nolint:errcheck
	defer timer.Stop()
	if failed := command.Run(); failed != nil && command.ProcessState == nil {
		t.Fatal(failed)
	}
	return outcome{command.ProcessState.ExitCode(), out.String(), err.String()}
}

// oneComplaint checks for a failure with exactly one line of complaint that holds all these words.
func oneComplaint(t testing.TB, o outcome, words ...string) {
	t.Helper()
	if o.code <= 0 {
		t.Errorf("exit code %d", o.code)
	}
	lines := strings.Split(strings.TrimRight(o.stderr, "\n"), "\n")
	if len(lines) != 1 {
		t.Errorf("%d lines instead of one:\n%s", len(lines), o.stderr)
	}
	for _, word := range words {
		if !strings.Contains(o.stderr, word) {
			t.Errorf("the complaint lacks %q: %s", word, o.stderr)
		}
	}
}

func TestABareModulePassesItsExitCodeArgumentsAndEnvironmentThrough(t *testing.T) {
	t.Parallel()
	if o := dormouse(t, "run", guest(t, "exit_code"), "42"); o.code != 42 || o.stdout != "" {
		t.Errorf("%+v", o)
	}
	if o := dormouse(t, "run", guest(t, "exit_code"), "0"); o.code != 0 || o.stderr != "" {
		t.Errorf("%+v", o)
	}
	o := dormouseWith(t, []string{"FROM_HERE=inherited", "SECRET=hidden"}, "run", "--env", "A=1=2", "--env", "FROM_HERE", "--env", "EMPTY=", guest(t, "echo"), "--env", "a b", "")
	for _, line := range []string{"arg 0 echo.wasm", "arg 1 --env", "arg 2 a b", "arg 3 ", "env A=1=2", "env FROM_HERE=inherited", "env EMPTY="} {
		if !strings.Contains(o.stdout, line+"\n") {
			t.Errorf("no line %q in\n%s", line, o.stdout)
		}
	}
	if o.code != 0 || strings.Contains(o.stdout, "SECRET") || strings.Contains(o.stdout, "PATH=") {
		t.Errorf("%+v", o)
	}
}

func TestABareModulesOutputIsItsOwnByteForByte(t *testing.T) {
	t.Parallel()
	const size = 5 << 20
	o := dormouse(t, "run", guest(t, "flood"), "binary", fmt.Sprint(size))
	block := make([]byte, 65536)
	for i := range block {
		block[i] = byte(i*7 + i/256)
	}
	if o.code != 0 || o.stdout != strings.Repeat(string(block), size/len(block)) {
		t.Errorf("exit code %d, %d bytes, which are not those that were written: %s", o.code, len(o.stdout), o.stderr)
	}
}

func TestATrapEndsABareModuleWith134AndSaysWhereItWas(t *testing.T) {
	t.Parallel()
	for _, trap := range []struct{ kind, function string }{
		{"unreachable", "main"}, {"read-out-of-bounds", "read_out_of_bounds"}, {"divide-by-zero", "divide"}, {"call-stack-exhausted", "call_deeper"},
	} {
		o := dormouse(t, "run", guest(t, "trap"), trap.kind)
		if o.code != 134 || !strings.Contains(o.stdout, "about to trap: "+trap.kind) || !strings.Contains(o.stderr, trap.function) {
			t.Errorf("%s: %+v", trap.kind, o)
		}
	}
}

// --dir gives a copy: what the guest does to it never reaches the folder, and it sees what was in it.
func TestADirectoryIsACopy(t *testing.T) {
	t.Parallel()
	for _, fixture := range []string{"wasi_fd", "wasi_path", "renumber", "fill_tmp", "poll"} {
		dir := t.TempDir()
		for path, content := range map[string]string{"a": "alpha", "deep/er/b": "beta"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := treeDigest(t, dir)
		empty := t.TempDir()
		o := dormouse(t, "run", "--dir", dir+"::/data", "--dir", empty+"::/scratch", "--memory", "64Mi", guest(t, fixture), "/scratch")
		if o.code != 0 {
			t.Errorf("%s: %+v", fixture, o)
		}
		if after := treeDigest(t, dir); after != before {
			t.Errorf("%s changed the folder:\n%s\n%s", fixture, before, after)
		}
		if left, _ := os.ReadDir(empty); len(left) != 0 {
			t.Errorf("%s left %v in the folder", fixture, left)
		}
		seen := dormouse(t, "run", "--dir", dir+"::/data", guest(t, "read_files"), "/data", "/data/a", "/data/deep/er/b", "/data/../etc/passwd", "/etc/passwd", "-w", "/data/new")
		for _, line := range []string{"/data/ a deep", "/data/a: alpha", "/data/deep/er/b: beta", "/data/new: write errno 0"} {
			if !strings.Contains(seen.stdout, line+"\n") {
				t.Errorf("no line %q in\n%s", line, seen.stdout)
			}
		}
		if strings.Contains(seen.stdout, "root:") {
			t.Errorf("the host's files are visible:\n%s", seen.stdout)
		}
		if after := treeDigest(t, dir); after != before {
			t.Errorf("a write reached the folder: %s", after)
		}
	}
}

// treeDigest is every name, mode and content below a folder.
func treeDigest(t testing.TB, root string) string {
	t.Helper()
	text := ""
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		sum := ""
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = fmt.Sprintf(" %d %x", info.Size(), sha256.Sum256(content))
		}
		text += fmt.Sprintf("%s %v%s\n", strings.TrimPrefix(path, root), info.Mode(), sum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestABareModuleHasNoNetworkUnlessItIsAllowed(t *testing.T) {
	t.Parallel()
	if o := dormouse(t, "run", guest(t, "kube_get")); o.code == 0 || strings.Contains(o.stdout, "HTTP") {
		t.Errorf("%+v", o)
	}
}

// SIGTERM reaches a bare module that listens, and ends one that does not.
func TestSignalsReachABareModule(t *testing.T) {
	t.Parallel()
	idle := harness.StartProcess(t, harness.Command{Name: "dormouse", Path: wanted(t, "DORMOUSE"), Args: []string{"run", guest(t, "idle")}})
	idle.AwaitLine(t, "^idle$", long)
	idle.Signal(syscall.SIGTERM)
	if code := idle.AwaitExit(t, soon); code != 128+15 {
		t.Errorf("exit code %d of a module that does not listen", code)
	}
}

func TestAModuleThatCannotRunIsRefusedInOneSentence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, err := os.ReadFile(guest(t, "echo"))
	if err != nil {
		t.Fatal(err)
	}
	corrupt := append([]byte(nil), good...)
	for i := len(corrupt) / 2; i < len(corrupt)/2+64; i++ {
		corrupt[i] = 0xff
	}
	for _, bad := range []struct {
		what  string
		path  string
		words []string
	}{
		{"missing", filepath.Join(dir, "nothing.wasm"), []string{"nothing.wasm", "o such file"}},
		{"a folder", dir, []string{dir}},
		{"empty", file("empty.wasm", nil), []string{"empty.wasm", "empty"}},
		{"truncated", file("truncated.wasm", good[:len(good)/3]), []string{"truncated.wasm"}},
		{"a head alone", file("head.wasm", good[:6]), []string{"head.wasm"}},
		{"corrupt", file("corrupt.wasm", corrupt), []string{"corrupt.wasm"}},
		{"text", file("text.wasm", []byte("(module)")), []string{"text.wasm", "text"}},
		{"a component", file("component.wasm", []byte("\x00asm\x0d\x00\x01\x00")), []string{"component.wasm", "component"}},
		{"an unknown import", file("import.wasm", module(`env`, `launch_missiles`, 1)), []string{"import.wasm", "env", "launch_missiles"}},
		{"an unknown WASI function", file("wasi.wasm", module(`wasi_snapshot_preview1`, `fd_teleport`, 1)), []string{"wasi.wasm", "fd_teleport"}},
	} {
		t.Run(bad.what, func(t *testing.T) {
			oneComplaint(t, dormouse(t, "run", bad.path), bad.words...)
			// check reads a module's outline, not its functions' code: that is found when it is compiled.
			if o := dormouse(t, "check", bad.path); o.code == 0 && bad.what != "corrupt" {
				t.Errorf("dormouse check finds nothing wrong: %+v", o)
			}
		})
	}
}

func TestAModuleWhoseMemoryIsPastItsLimitIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "huge.wasm")
	if err := os.WriteFile(path, module("", "", 65536), 0o644); err != nil {
		t.Fatal(err)
	}
	oneComplaint(t, dormouse(t, "run", "--memory", "64Mi", path), "memory")
	if o := dormouse(t, "run", "--memory", "5Gi", path); o.code != 0 { // 4 GiB that nobody touches cost nothing.
		t.Errorf("with room for it: %+v", o)
	}
}

func TestMemoryGrowsToTheLimitAndNotPastIt(t *testing.T) {
	t.Parallel()
	o := dormouse(t, "run", "--memory", "32Mi", guest(t, "grow"), "touch")
	var pages int
	if _, err := fmt.Sscanf(o.stdout, "memory.grow failed at %d pages", &pages); err != nil || o.code != 7 || pages < 400 || pages > 512 {
		t.Errorf("%+v", o)
	}
}

func TestWrongUsageIsToldInOneSentence(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"run"}, {"run", "--memory", "much", guest(t, "echo")}, {"run", "--dir", "/no/such::/x", guest(t, "echo")}, {"ps", "--socket", "/no/such"}} {
		oneComplaint(t, dormouse(t, args...), "error")
	}
	if o := dormouse(t, "run", "--workers", "0", "x.wasm"); o.code != 2 {
		t.Errorf("%+v", o)
	}
	if o := dormouse(t, "fly"); o.code != 2 {
		t.Errorf("%+v", o)
	}
}

// module is a core module with a memory of so many pages, an empty _start, and one import if it has a name.
func module(from, name string, pages uint32) []byte {
	leb := func(n uint32) []byte {
		var b []byte
		for {
			c := byte(n & 0x7f)
			if n >>= 7; n == 0 {
				return append(b, c)
			}
			b = append(b, c|0x80)
		}
	}
	text := func(s string) []byte { return append(leb(uint32(len(s))), s...) }
	bytes := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, parts ...[]byte) {
		var body []byte
		for _, part := range parts {
			body = append(body, part...)
		}
		bytes = append(append(append(bytes, id), leb(uint32(len(body)))...), body...)
	}
	start := byte(0)
	section(1, []byte{1, 0x60, 0, 0})
	if name != "" {
		section(2, []byte{1}, text(from), text(name), []byte{0, 0})
		start = 1
	}
	section(3, []byte{1, 0})
	section(5, []byte{1, 0}, leb(pages))
	section(7, []byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, start})
	section(10, []byte{1, 2, 0, 0x0b})
	return bytes
}
