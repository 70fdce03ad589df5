// SPDX-License-Identifier: Apache-2.0

// Command overlay builds an ordinary Go program as a Dormouse guest. It leaves the program's source tree,
// the Go installation and the module cache as they are: the few functions that must differ in a guest are
// exchanged by `go build -overlay`, whose files it derives from the very versions in use.
//
//	overlay build --dir DIR --out NAME.wasm [--package PKG] [--cache DIR]
//	overlay write --dir DIR --out DIR       [--package PKG]      only the overlay, for a build of one's own
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		os.Exit(1)
	}
}

const usage = "usage: overlay build|write --dir DIR --out PATH [--package PKG] [--cache DIR]"

func run(arguments []string, out io.Writer) error {
	if len(arguments) == 0 || arguments[0] != "build" && arguments[0] != "write" {
		return errors.New(usage)
	}
	verb := arguments[0]
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	dir := flags.String("dir", ".", "the operator's `folder`")
	target := flags.String("out", "", "build: the module to write; write: the folder for the overlay")
	pkg := flags.String("package", "", "the program to build, as `go build` names it")
	cache := flags.String("cache", "", "where overlays are kept (default $DORMOUSE_CACHE or ~/.cache/dormouse)")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if *target == "" || flags.NArg() != 0 {
		return errors.New(usage)
	}
	path, err := filepath.Abs(*target)
	if err != nil {
		return err
	}
	p, err := openProject(*dir)
	if err != nil {
		return err
	}
	program, err := p.mainPackage(*pkg)
	if err != nil {
		return err
	}
	root, err := cacheFolder(*cache)
	if err != nil {
		return err
	}
	made, err := p.overlay(program, filepath.Join(root, "modules"))
	if err != nil {
		return err
	}
	if verb == "write" {
		_, err = made.write(path)
		return err
	}
	return p.build(program, made, root, path, out)
}

func cacheFolder(given string) (string, error) {
	if given == "" {
		given = os.Getenv("DORMOUSE_CACHE")
	}
	if given == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("%w: set DORMOUSE_CACHE to a folder", err)
		}
		given = filepath.Join(home, ".cache", "dormouse")
	}
	return filepath.Abs(filepath.Join(given, "go-overlay"))
}

func (p project) build(program goPackage, made overlay, cache, target string, out io.Writer) error {
	started := time.Now()
	file, err := made.write(filepath.Join(cache, made.digest()))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "program  %s\n", program.ImportPath)
	fmt.Fprintf(out, "with     %s\n", strings.Join(made.versions, ", "))
	fmt.Fprintf(out, "guest    %s\n", strings.Join(made.changed, ", "))
	for _, note := range made.notes {
		fmt.Fprintf(out, "note     %s\n", note)
	}
	fmt.Fprintln(out, "build    go build (the first time all dependencies too: some minutes)")
	// -w leaves out what no wasm engine reads; the name section stays, for backtraces.
	err = p.goCommand(os.Stdout, "build", "-overlay", file, "-trimpath", "-buildvcs=false", "-ldflags=-w", "-o", target, program.ImportPath)
	if err != nil {
		return fmt.Errorf("%w (a message about %s*.go means that this Dormouse does not know %s well enough)", err, overlayFilePrefix, strings.Join(made.versions, ", "))
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "wrote    %s, %.1f MB, in %.0f s\n", target, float64(info.Size())/1e6, time.Since(started).Seconds())
	return nil
}

// overlay is what a program's packages get, as content: the same inputs give the same one.
type overlay struct {
	files    map[string][]byte // by the path that each one stands for
	links    map[string]string // the same for files that lie somewhere else unchanged
	changed  []string          // packages
	versions []string
	notes    []string
}

// overlay makes the overlay of a program; modules is the folder in which modules of the module cache seem to lie.
func (p project) overlay(program goPackage, modules string) (overlay, error) {
	packages, err := p.list("-deps", "--", program.ImportPath)
	if err != nil {
		return overlay{}, err
	}
	byPath := map[string]goPackage{}
	for _, pkg := range packages {
		byPath[pkg.ImportPath] = pkg
	}
	made := overlay{files: map[string][]byte{}, links: map[string]string{}, versions: []string{p.goVersion}}
	var replaced []goModule
	for _, patch := range patches {
		pkg, used := byPath[patch.importPath]
		if !used {
			continue
		}
		files, err := patch.apply(pkg, p.goVersion)
		if err != nil && patch.optional {
			made.notes = append(made.notes, fmt.Sprintf("%s stays as it is: %v", patch.importPath, err))
			continue
		}
		if err != nil {
			return overlay{}, fmt.Errorf("this Dormouse does not know this version: %w", err)
		}
		place := func(path string) string { return path }
		if pkg.Module != nil && beneath(pkg.Dir, p.moduleCache) {
			folder := standIn(modules, *pkg.Module)
			place = func(path string) string { return folder + strings.TrimPrefix(path, pkg.Module.Dir) }
			if !slices.ContainsFunc(replaced, func(m goModule) bool { return m.Path == pkg.Module.Path }) {
				replaced = append(replaced, *pkg.Module)
				links, err := moduleFiles(*pkg.Module, folder)
				if err != nil {
					return overlay{}, err
				}
				maps.Copy(made.links, links)
			}
		}
		for path, text := range files {
			made.files[place(path)] = text
			delete(made.links, place(path))
		}
		made.changed = append(made.changed, patch.importPath)
		if pkg.Module != nil && !pkg.Standard {
			version := pkg.Module.Path + " " + pkg.Module.version()
			if made.versions[len(made.versions)-1] != version {
				made.versions = append(made.versions, version)
			}
		}
	}
	if len(replaced) > 0 {
		path, text, err := p.replaceModules(modules, replaced)
		if err != nil {
			return overlay{}, err
		}
		made.files[path] = text
	}
	return made, nil
}

func (o overlay) digest() string {
	hash := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(o.files)) {
		fmt.Fprintf(hash, "%q %q\n", path, o.files[path])
	}
	for _, path := range slices.Sorted(maps.Keys(o.links)) {
		fmt.Fprintf(hash, "%q %q\n", path, o.links[path])
	}
	return hex.EncodeToString(hash.Sum(nil))[:32]
}

// write puts the overlay into folder and yields the path of the file that `go build -overlay` takes.
// Writers of the same content may run at once.
func (o overlay) write(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	replace := maps.Clone(o.links)
	for i, path := range slices.Sorted(maps.Keys(o.files)) {
		name := fmt.Sprintf("%02d_%s", i, filepath.Base(path))
		replace[path] = filepath.Join(folder, name)
		if err := writeFile(replace[path], o.files[path]); err != nil {
			return "", err
		}
	}
	text, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "overlay.json")
	return file, writeFile(file, append(text, '\n'))
}

func writeFile(path string, text []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(text); err != nil {
		temporary.Close()
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.Chmod(temporary.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
