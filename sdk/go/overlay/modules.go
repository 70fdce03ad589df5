// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The go command refuses an overlay over files of its module cache. So a cached module that a patch edits
// is replaced as a whole: by a folder that exists in the overlay only, whose files are those of the cache but for
// the edited ones, and by a `replace` line in the overlay's view of go.mod or go.work.

// beneath tells whether path lies in folder.
func beneath(path, folder string) bool {
	if folder == "" {
		return false
	}
	place, err := filepath.Rel(folder, path)
	return err == nil && place != ".." && !strings.HasPrefix(place, ".."+string(filepath.Separator))
}

// standIn is the folder that stands for the module's folder in the overlay.
func standIn(root string, module goModule) string {
	// No @ in it, which `go work edit` takes for the start of a version.
	return filepath.Join(root, filepath.FromSlash(module.Path), module.Version)
}

// moduleFiles maps each file of the module's stand-in to the real one.
func moduleFiles(module goModule, place string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(module.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		relative, err := filepath.Rel(module.Dir, path)
		files[filepath.Join(place, relative)] = path
		return err
	})
	if err == nil && files[filepath.Join(place, "go.mod")] == "" {
		err = fmt.Errorf("module %s %s has no go.mod of its own, so it cannot be replaced: use a version of it that has", module.Path, module.version())
	}
	return files, err
}

// replaceModules gives the text of the project's go.work or go.mod with these modules replaced by their
// stand-ins, and its path.
func (p project) replaceModules(root string, modules []goModule) (string, []byte, error) {
	path, tool := p.goMod, "mod"
	if p.goWork != "" {
		path, tool = p.goWork, "work"
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	scratch, err := os.MkdirTemp("", "dormouse-go-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(scratch)
	copied := filepath.Join(scratch, filepath.Base(path))
	if err := os.WriteFile(copied, text, 0o644); err != nil {
		return "", nil, err
	}
	arguments := []string{tool, "edit"}
	for _, module := range modules {
		arguments = append(arguments,
			"-dropreplace="+module.Path+"@"+module.Version,
			"-replace="+module.Path+"="+standIn(root, module))
	}
	if err := p.goCommand(os.Stdout, append(arguments, copied)...); err != nil {
		return "", nil, err
	}
	text, err = os.ReadFile(copied)
	return path, text, err
}
