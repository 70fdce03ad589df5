// SPDX-License-Identifier: Apache-2.0

// Package first measures what many copies of an operator cost in Dormouse and as native processes.
package first

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"dormouse.dev/e2e/harness"
)

// copies makes `count` files that differ in a nonce which nobody reads: programs that share no page with each other.
// The first is the original, so one copy is the same thing either way.
func copies(t testing.TB, o harness.Operator, count int, distinct bool) []harness.Operator {
	t.Helper()
	var all []harness.Operator
	for range count {
		all = append(all, o)
	}
	if !distinct {
		return all
	}
	scratch := t.TempDir() // Native copies are cheap to make; compiled modules are kept.
	jobs := make(chan int)
	var workers sync.WaitGroup
	failures := make([]error, count)
	for range 2 { // A Go module takes 1.2 GB to compile.
		workers.Go(func() {
			for i := range jobs {
				all[i].Native = filepath.Join(scratch, fmt.Sprintf("%s-%d", filepath.Base(o.Native), i))
				failures[i] = nativeCopy(o.Native, all[i].Native, i)
				if failures[i] == nil {
					all[i].Module, failures[i] = moduleCopy(o.Module, i)
				}
			}
		})
	}
	for i := 1; i < count; i++ {
		jobs <- i
	}
	close(jobs)
	workers.Wait()
	for _, err := range failures {
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// nativeCopy appends the nonce: what is behind an ELF file's sections is not mapped, but makes it another file.
func nativeCopy(from, to string, nonce int) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "nonce %08d", nonce); err != nil {
		return err
	}
	return out.Close()
}

// moduleCopy adds a custom section with the nonce, and compiles the outcome unless a former run has.
func moduleCopy(from string, nonce int) (string, error) {
	content, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	const name = "bench.nonce"
	body := append([]byte{byte(len(name))}, name...)
	body = append(body, fmt.Sprintf("%08d", nonce)...)
	content = append(append(content, 0, byte(len(body))), body...)
	folder := filepath.Join(os.Getenv("BENCH_CACHE"), os.Getenv("BENCH_ENGINE"))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(folder, fmt.Sprintf("%x.wasm", sha256.Sum256(content)))
	code := path[:len(path)-len("wasm")] + "cwasm"
	if _, err := os.Stat(code); err == nil {
		return path, nil
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return "", err
	}
	if said, err := exec.Command(os.Getenv("DORMOUSE"), "compile", path, code).CombinedOutput(); err != nil {
		return "", fmt.Errorf("dormouse compile: %w\n%s", err, said)
	}
	return path, nil
}
