// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package fsnotify

// File watching in a Dormouse guest: WASI has no inotify, so what is watched is looked at once a minute.
// That is the delay at which a mounted ConfigMap or Secret changes in any pod. Without watches
// nothing runs.

import (
	"os"
	"path/filepath"
	"sync"
	"time"
)

const lookEvery = time.Minute

// polled is the backend. Paths may be files or folders, as with inotify.
type polled struct {
	events chan Event
	errors chan error
	done   chan struct{}

	mu      sync.Mutex
	watched map[string]map[string]look // by path: what was seen there
	running bool
	closed  bool
}

// look is what is compared between two looks at a file.
type look struct {
	modified time.Time
	size     int64
	mode     os.FileMode
	link     string
}

func newBackend(events chan Event, errors chan error) (backend, error) {
	return &polled{events: events, errors: errors, done: make(chan struct{}), watched: map[string]map[string]look{}}, nil
}

func (w *polled) Add(path string) error { return w.AddWith(path) }

func (w *polled) AddWith(path string, _ ...addOpt) error {
	path = filepath.Clean(path)
	seen, err := lookAt(path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	w.watched[path] = seen
	if !w.running {
		w.running = true
		go w.run()
	}
	return nil
}

func (w *polled) Remove(path string) error {
	path = filepath.Clean(path)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	if _, ok := w.watched[path]; !ok {
		return ErrNonExistentWatch
	}
	delete(w.watched, path)
	return nil
}

func (w *polled) WatchList() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	paths := []string{}
	for path := range w.watched {
		paths = append(paths, path)
	}
	return paths
}

func (w *polled) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	close(w.done)
	if !w.running {
		close(w.events)
		close(w.errors)
	}
	return nil
}

func (w *polled) xSupports(op Op) bool {
	return op&^(Create|Write|Remove|Chmod) == 0
}

// run ends with the last watch; Add starts it again.
func (w *polled) run() {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.done:
			close(w.events)
			close(w.errors)
			return
		case <-ticker.C:
		}
		events, ended := w.compare()
		for _, event := range events {
			select {
			case w.events <- event:
			case <-w.done: // The next turn closes the channels.
			}
		}
		if ended {
			return
		}
	}
}

// compare looks at all that is watched and yields what differs; ended if nothing is watched any more.
func (w *polled) compare() (events []Event, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, false
	}
	for path, before := range w.watched {
		now, err := lookAt(path)
		if err != nil {
			now = nil
		}
		for name, old := range before {
			if seen, ok := now[name]; !ok {
				events = append(events, Event{Name: name, Op: Remove})
			} else if seen.modified != old.modified || seen.size != old.size || seen.link != old.link {
				events = append(events, Event{Name: name, Op: Write})
			} else if seen.mode != old.mode {
				events = append(events, Event{Name: name, Op: Chmod})
			}
		}
		for name := range now {
			if _, ok := before[name]; !ok {
				events = append(events, Event{Name: name, Op: Create})
			}
		}
		if err != nil {
			delete(w.watched, path) // As inotify does when what it watches is gone.
		} else {
			w.watched[path] = now
		}
	}
	if len(w.watched) == 0 {
		w.running = false
		return events, true
	}
	return events, false
}

// lookAt sees a file, or each entry of a folder.
func lookAt(path string) (map[string]look, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		target, _ := filepath.EvalSymlinks(path)
		return map[string]look{path: {info.ModTime(), info.Size(), info.Mode(), target}}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	seen := map[string]look{}
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		info, err := os.Lstat(name)
		if err != nil {
			continue // Gone since.
		}
		target := ""
		if info.Mode()&os.ModeSymlink != 0 {
			target, _ = os.Readlink(name)
		}
		seen[name] = look{info.ModTime(), info.Size(), info.Mode(), target}
	}
	return seen, nil
}
