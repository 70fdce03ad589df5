// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Standard   bool
	Module     *goModule
}

type goModule struct {
	Path    string
	Version string
	Dir     string
	Replace *goModule
}

func (m goModule) version() string {
	if m.Replace != nil {
		if m.Replace.Version != "" {
			return m.Replace.Version
		}
		return "replaced by " + m.Replace.Path
	}
	if m.Version == "" {
		return "(in the source tree)"
	}
	return m.Version
}

// project is the operator's module. Its own go command decides everything (toolchain line, workspace,
// vendor folder, GOFLAGS): it is run in the module's folder.
type project struct {
	dir         string
	goVersion   string
	goMod       string
	goWork      string // "" without a workspace
	moduleCache string
}

// guestEnvironment makes the go command see the module as it will be for a guest.
func guestEnvironment() []string {
	return append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
}

// goCommand runs the go command in the project's folder. Its stderr is shown as it comes: it says what is
// being downloaded and what is wrong.
func (p project) goCommand(stdout io.Writer, arguments ...string) error {
	command := exec.Command("go", arguments...)
	command.Dir = p.dir
	command.Env = append(guestEnvironment(), "PWD="+p.dir)
	command.Stdout = stdout
	command.Stderr = os.Stderr
	err := command.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return fmt.Errorf("`go %s` failed in %s, see above", arguments[0], p.dir)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("the go command is not in PATH: install Go from https://go.dev/dl or your distribution")
	}
	return err
}

func openProject(dir string) (project, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return project{}, err
	}
	if info, err := os.Stat(dir); err != nil {
		return project{}, err
	} else if !info.IsDir() {
		return project{}, fmt.Errorf("%s is not a folder", dir)
	}
	p := project{dir: dir}
	var out bytes.Buffer
	if err := p.goCommand(&out, "env", "-json", "GOVERSION", "GOMOD", "GOWORK", "GOMODCACHE"); err != nil {
		return project{}, err
	}
	var env struct{ GOVERSION, GOMOD, GOWORK, GOMODCACHE string }
	if err := json.Unmarshal(out.Bytes(), &env); err != nil {
		return project{}, err
	}
	if env.GOMOD == "" || env.GOMOD == os.DevNull {
		return project{}, fmt.Errorf("%s is not within a Go module: there is no go.mod", dir)
	}
	p.goVersion = env.GOVERSION
	p.goMod = env.GOMOD
	p.moduleCache = env.GOMODCACHE
	if env.GOWORK != "off" {
		p.goWork = env.GOWORK
	}
	return p, nil
}

// list decodes what `go list -json` prints for these arguments.
func (p project) list(arguments ...string) ([]goPackage, error) {
	var out bytes.Buffer
	fields := "-json=ImportPath,Name,Dir,GoFiles,Standard,Module"
	if err := p.goCommand(&out, append([]string{"list", fields}, arguments...)...); err != nil {
		return nil, err
	}
	var packages []goPackage
	decoder := json.NewDecoder(&out)
	for {
		var pkg goPackage
		if err := decoder.Decode(&pkg); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, pkg)
	}
}

// mainPackage finds the program to build. wanted is a package as `go build` takes it, or "".
func (p project) mainPackage(wanted string) (goPackage, error) {
	if wanted != "" {
		packages, err := p.list("--", wanted)
		if err != nil {
			return goPackage{}, err
		}
		if len(packages) != 1 || packages[0].Name != "main" {
			return goPackage{}, fmt.Errorf("--package %s is not one program: it must name one package main", wanted)
		}
		return packages[0], nil
	}
	all, err := p.list("-e", "./...")
	if err != nil {
		return goPackage{}, err
	}
	return chooseMain(p.dir, all)
}

// chooseMain takes the only program among the usual places (., ./cmd, ./cmd/NAME), else the only one anywhere.
func chooseMain(dir string, all []goPackage) (goPackage, error) {
	var usual, others []goPackage
	for _, pkg := range all {
		if pkg.Name != "main" || len(pkg.GoFiles) == 0 {
			continue
		}
		place, err := filepath.Rel(dir, pkg.Dir)
		if err != nil {
			return goPackage{}, err
		}
		place = filepath.ToSlash(place)
		if place == "." || place == "cmd" || strings.HasPrefix(place, "cmd/") && strings.Count(place, "/") == 1 {
			usual = append(usual, pkg)
		} else {
			others = append(others, pkg)
		}
	}
	candidates := usual
	if len(candidates) == 0 {
		candidates = others
	}
	switch len(candidates) {
	case 0:
		return goPackage{}, fmt.Errorf("no program in %s: no package main builds for wasip1/wasm", dir)
	case 1:
		return candidates[0], nil
	}
	var names []string
	for _, pkg := range candidates {
		place, _ := filepath.Rel(dir, pkg.Dir)
		if place != "." {
			place = "./" + filepath.ToSlash(place)
		}
		names = append(names, "--package "+place)
	}
	return goPackage{}, fmt.Errorf("%s holds %d programs, choose one: %s", dir, len(candidates), strings.Join(names, ", "))
}
