// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/zip"
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeTree writes files, given by path, into a new folder.
func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if os.IsNotExist(err) && path == dir {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all.WriteString(path + "\n" + string(text) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// build runs the whole driver, and yields what it prints.
func build(t *testing.T, dir string, arguments ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	arguments = append([]string{"build", "--dir", dir, "--cache", t.TempDir(), "--out", filepath.Join(t.TempDir(), "guest.wasm")}, arguments...)
	err := run(arguments, &out)
	return out.String(), err
}

const netProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	fmt.Println(http.Get("http://kube/version"))
	fmt.Println(http.ListenAndServe(":8080", nil))
	signal.Stop(stop)
}
`

func TestAnOrdinaryProgramBuildsWithTheInstalledGo(t *testing.T) {
	dir := writeTree(t, map[string]string{"go.mod": "module m.example\n\ngo 1.25\n", "main.go": netProgram})
	before := snapshot(t, dir)
	out, err := build(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"program  m.example\n", "guest    net, os/signal, os, crypto/x509\n", "guest.wasm"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if snapshot(t, dir) != before {
		t.Error("the source tree was touched")
	}
}

func TestTheSameInputsGiveTheSameOverlay(t *testing.T) {
	dir := writeTree(t, map[string]string{"go.mod": "module m.example\n\ngo 1.25\n", "main.go": netProgram})
	p, err := openProject(dir)
	if err != nil {
		t.Fatal(err)
	}
	program, err := p.mainPackage("")
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.overlay(program, "/modules")
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.overlay(program, "/modules")
	if err != nil {
		t.Fatal(err)
	}
	if first.digest() != second.digest() {
		t.Error("two digests")
	}
	for path := range first.files {
		first.files[path] = append(first.files[path], '\n')
		break
	}
	if first.digest() == second.digest() {
		t.Error("another content has the same digest")
	}
	folder := t.TempDir()
	file, err := second.write(folder)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.write(folder); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Error("the same overlay was written anew")
	}
	if strings.Contains(snapshot(t, folder), ".new-") {
		t.Error("temporary files stay behind")
	}
}

func patchFor(importPath string) patch {
	return patches[slices.IndexFunc(patches, func(p patch) bool { return p.importPath == importPath })]
}

func TestAGoOfAnotherShapeIsRefusedByName(t *testing.T) {
	const ours = "package os\n\nfunc hostname() (name string, err error) { return \"\", nil }\n"
	for name, c := range map[string]struct{ text, want string }{
		"as known": {ours, ""},
		"gone":     {"package os\n", "function hostname of package os (go9.9, "},
		"another":  {strings.Replace(ours, "()", "(full bool)", 1), "has become (bool) (string, error), known is () (string, error)"},
		"a method": {strings.Replace(ours, "hostname()", "(p pod) hostname()", 1), "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeTree(t, map[string]string{"sys.go": c.text})
			_, err := patchFor("os").apply(goPackage{ImportPath: "os", Dir: dir, GoFiles: []string{"sys.go"}}, "go9.9")
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestACallThatIsNoLongerMadeIsRefused(t *testing.T) {
	dir := writeTree(t, map[string]string{"signal.go": `package signal

func loop() {}
func enableSignal(sig int) {}
func disableSignal(sig int) {}
func ignoreSignal(sig int) {}
func signalIgnored(sig int) bool { return false }
func Stop() {}
`})
	_, err := patchFor("os/signal").apply(goPackage{Dir: dir, GoFiles: []string{"signal.go"}}, "go9.9")
	if err == nil || !strings.Contains(err.Error(), "function Stop of package os/signal") || !strings.Contains(err.Error(), "no longer calls signalWaitUntilIdle") {
		t.Error(err)
	}
}

func TestAVariableThatIsGoneIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"package x509\n\nvar certFiles = []string{}\n": "",
		"package x509\n\nconst certFiles = 1\n":        "variable certFiles of package crypto/x509 (go9.9, ",
	} {
		dir := writeTree(t, map[string]string{"root.go": text})
		_, err := patchFor("crypto/x509").apply(goPackage{Dir: dir, GoFiles: []string{"root.go"}}, "go9.9")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTheProgramIsFound(t *testing.T) {
	program := func(place string) goPackage {
		return goPackage{ImportPath: "m/" + place, Name: "main", Dir: filepath.Join("/m", place), GoFiles: []string{"main.go"}}
	}
	library := goPackage{ImportPath: "m/api", Name: "api", Dir: "/m/api", GoFiles: []string{"api.go"}}
	tests := program("test")
	tests.GoFiles = nil
	for name, c := range map[string]struct {
		all  []goPackage
		want string
	}{
		"at the root":             {[]goPackage{library, program("")}, "m/"},
		"in cmd":                  {[]goPackage{library, program("cmd"), program("hack/gen")}, "m/cmd"},
		"in a folder of cmd":      {[]goPackage{program("cmd/manager"), program("tools/x/y")}, "m/cmd/manager"},
		"anywhere, if only one":   {[]goPackage{library, program("a/b/c"), tests}, "m/a/b/c"},
		"error: two in cmd":       {[]goPackage{program("cmd/a"), program("cmd/b")}, "--package ./cmd/a, --package ./cmd/b"},
		"error: root and cmd":     {[]goPackage{program(""), program("cmd")}, "choose one: --package ., --package ./cmd"},
		"error: none":             {[]goPackage{library, tests}, "no program in /m"},
		"error: two in elsewhere": {[]goPackage{program("a/b"), program("c/d")}, "choose one"},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := chooseMain("/m", c.all)
			got := chosen.ImportPath
			if err != nil {
				got = err.Error()
			}
			if (err != nil) != strings.HasPrefix(name, "error") || !strings.Contains(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestBadInputIsOneClearSentence(t *testing.T) {
	nothing := t.TempDir()
	broken := writeTree(t, map[string]string{"go.mod": "module m.example\n\ngo 1.25\n", "lib.go": "package lib\n"})
	for want, arguments := range map[string][]string{
		"usage: ":                        {"build", "--dir", nothing},
		"usage: overlay":                 {"bild"},
		"not within a Go module":         {"build", "--dir", nothing, "--out", "x.wasm"},
		"no such file or directory":      {"build", "--dir", filepath.Join(nothing, "no"), "--out", "x.wasm"},
		"is not a folder":                {"build", "--dir", filepath.Join(broken, "lib.go"), "--out", "x.wasm"},
		"no program in":                  {"build", "--dir", broken, "--out", "x.wasm"},
		"--package . is not one program": {"build", "--dir", broken, "--out", "x.wasm", "--package", "."},
	} {
		var out bytes.Buffer
		err := run(arguments, &out)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want %q", arguments, err, want)
		}
	}
}

// fakeClientGo has of client-go what the patches touch.
var fakeClientGo = map[string]string{
	"go.mod": "module k8s.io/client-go\n\ngo 1.25\n",
	"rest/config.go": `package rest

import "errors"

var ErrNotInCluster = errors.New("not in a cluster")

type TLSClientConfig struct{ ServerName string }

type Config struct {
	Host string
	TLSClientConfig
}

func InClusterConfig() (*Config, error) { return nil, ErrNotInCluster }
`,
	"tools/clientcmd/client_config.go": `package clientcmd

type inClusterClientConfig struct{}

func (config *inClusterClientConfig) Possible() bool { return false }

func Possible() bool { return new(inClusterClientConfig).Possible() }
`,
}

var clientGoProgram = map[string]string{
	"go.mod": "module m.example\n\ngo 1.25\n\nrequire k8s.io/client-go v0.99.0\n",
	"cmd/main.go": `package main

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	fmt.Println(rest.InClusterConfig())
	fmt.Println(clientcmd.Possible())
}
`,
}

// serveFakeClientGo makes a module proxy with client-go in it, and an empty module cache.
func serveFakeClientGo(t *testing.T) (moduleCache string) {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for path, text := range fakeClientGo {
		file, err := w.Create("k8s.io/client-go@v0.99.0/" + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	proxy := writeTree(t, map[string]string{
		"k8s.io/client-go/@v/list":         "v0.99.0\n",
		"k8s.io/client-go/@v/v0.99.0.info": `{"Version":"v0.99.0"}`,
		"k8s.io/client-go/@v/v0.99.0.mod":  fakeClientGo["go.mod"],
		"k8s.io/client-go/@v/v0.99.0.zip":  archive.String(),
	})
	moduleCache = t.TempDir()
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy))
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOMODCACHE", moduleCache)
	t.Setenv("GOFLAGS", "-modcacherw -buildvcs=false")
	return moduleCache
}

func goRun(t *testing.T, dir string, arguments ...string) {
	t.Helper()
	command := exec.Command("go", arguments...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", arguments, err, out)
	}
}

func TestClientGoIsEditedWhereverItComesFrom(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T) string{
		"module cache": func(t *testing.T) string {
			dir := writeTree(t, clientGoProgram)
			goRun(t, dir, "mod", "tidy")
			return dir
		},
		"vendor folder": func(t *testing.T) string {
			dir := writeTree(t, clientGoProgram)
			goRun(t, dir, "mod", "tidy")
			goRun(t, dir, "mod", "vendor")
			return dir
		},
		"workspace": func(t *testing.T) string {
			dir := writeTree(t, clientGoProgram)
			goRun(t, dir, "mod", "tidy")
			goRun(t, dir, "work", "init", ".")
			return dir
		},
		"replaced by another version": func(t *testing.T) string {
			files := maps.Clone(clientGoProgram)
			files["go.mod"] = "module m.example\n\ngo 1.25\n\nrequire k8s.io/client-go v0.98.0\n\nreplace k8s.io/client-go v0.98.0 => k8s.io/client-go v0.99.0\n"
			dir := writeTree(t, files)
			goRun(t, dir, "mod", "tidy")
			return dir
		},
		"replaced by a folder": func(t *testing.T) string {
			files := maps.Clone(clientGoProgram)
			files["go.mod"] += "\nreplace k8s.io/client-go => ./fork\n"
			for path, text := range fakeClientGo {
				files["fork/"+path] = text
			}
			dir := writeTree(t, files)
			goRun(t, dir, "mod", "tidy")
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			moduleCache := serveFakeClientGo(t)
			dir := prepare(t)
			before, cached := snapshot(t, dir), snapshot(t, filepath.Join(moduleCache, "k8s.io"))
			output := filepath.Join(t.TempDir(), "guest.wasm")
			out, err := build(t, dir, "--out", output)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, "k8s.io/client-go/rest, k8s.io/client-go/tools/clientcmd") {
				t.Errorf("client-go is not in:\n%s", out)
			}
			module, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(module, []byte("http://kube")) {
				t.Error("the program has client-go's own InClusterConfig")
			}
			if snapshot(t, dir) != before || snapshot(t, filepath.Join(moduleCache, "k8s.io")) != cached {
				t.Error("the source tree or the module cache was touched")
			}
		})
	}
}
