// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse.dev/e2e/harness"

	"golang.org/x/sys/unix"
)

// Copies makes `count` operators. Distinct ones differ in a nonce that nobody reads: programs and modules that share no
// page with each other. The first is the original, so one copy is the same thing either way.
func Copies(t testing.TB, o harness.Operator, count int, distinct bool) []harness.Operator {
	t.Helper()
	var all []harness.Operator
	for range count {
		all = append(all, o)
	}
	if !distinct || count < 2 {
		return all
	}
	folder := t.TempDir()
	for i := 1; i < count; i++ {
		base := filepath.Join(folder, fmt.Sprintf("%s-%d", strings.TrimSuffix(filepath.Base(o.Module), ".wasm"), i))
		if o.Native != "" {
			all[i].Native = base
			if err := nativeCopy(o.Native, base, i); err != nil {
				t.Fatal(err)
			}
		}
		if o.Module != "" {
			all[i].Module = base + ".wasm"
			if err := ModuleCopy(o.Module, all[i].Module, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// nativeCopy appends the nonce: what is behind an ELF file's sections is not mapped, but makes it another file.
func nativeCopy(from, to string, nonce int) error {
	return copyFile(from, to, 0o755, -1, []byte(fmt.Sprintf("nonce %08d", nonce)))
}

// The trailer of a .cwasm (src/wasm/code_file.cc).
const (
	trailerBytes  = 160
	trailerModule = 16 + 8 + 32 // Behind magic, length and digest of the code.
)

// ModuleCopy adds a custom section with the nonce to a module, and makes its .cwasm.
//
// A custom section does not reach the compiler: compiling such a copy yields the very bytes of the original's machine code
// (compared for the Rust greeter; only the digest of the module in the trailer differs). So the copy's .cwasm is the original's with that digest
// replaced, instead of a minute and 1.2 GB a Go module. For the host it is another module: another file, other pages,
// metadata of its own.
func ModuleCopy(from, to string, nonce int) error {
	const name = "bench.nonce"
	body := append([]byte{byte(len(name))}, name...)
	body = append(body, fmt.Sprintf("%08d", nonce)...)
	section := append([]byte{0, byte(len(body))}, body...)
	if err := copyFile(from, to, 0o644, -1, section); err != nil {
		return err
	}
	in, err := os.Open(to)
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, in); err != nil {
		return err
	}
	fromCode, toCode := strings.TrimSuffix(from, "wasm")+"cwasm", strings.TrimSuffix(to, "wasm")+"cwasm"
	code, err := os.Open(fromCode)
	if err != nil {
		return err
	}
	defer code.Close()
	info, err := code.Stat()
	if err != nil {
		return err
	}
	trailer := make([]byte, trailerBytes)
	if _, err := code.ReadAt(trailer, info.Size()-trailerBytes); err != nil {
		return err
	}
	if string(trailer[:16]) != "dormouse-cwasm-1" || binary.LittleEndian.Uint64(trailer[16:]) != uint64(info.Size()-trailerBytes) {
		return errors.New(fromCode + ": the trailer is not what this benchmark knows")
	}
	copy(trailer[trailerModule:], hash.Sum(nil))
	return copyFile(fromCode, toCode, 0o644, info.Size()-trailerBytes, trailer)
}

// copyFile copies `bytes` of a file (-1: all of it) and adds something; the outcome is on disk, so that Evict can drop it.
func copyFile(from, to string, mode os.FileMode, bytes int64, more []byte) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer out.Close()
	var source io.Reader = in
	if bytes >= 0 {
		source = io.LimitReader(in, bytes)
	}
	if _, err := io.Copy(out, source); err != nil {
		return err
	}
	if _, err := out.Write(more); err != nil {
		return err
	}
	return out.Close()
}

// Evict drops the page cache of an operator's files: whoever touches them next pays for them. What somebody maps stays.
func Evict(operators []harness.Operator) {
	seen := map[string]bool{}
	for _, o := range operators {
		for _, path := range []string{o.Native, o.Module, strings.TrimSuffix(o.Module, "wasm") + "cwasm"} {
			if path == "" || path == "cwasm" || seen[path] {
				continue
			}
			seen[path] = true
			if file, err := os.Open(path); err == nil {
				file.Sync()                                            //nolint:errcheck // Dirty pages would stay, and be counted for whoever wrote them.
				unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) //nolint:errcheck
				file.Close()
			}
		}
	}
}
