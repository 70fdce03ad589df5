// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package signal

// Signals of a Dormouse guest.
//
// The runtime's own signal queue spins on wasip1 (its wait is a yield), so it is never asked. The host
// writes each signal as one byte, its number, to the stream /run/signals. Opening that stream tells the
// host that the program answers signals itself; the default action is then ours to take.

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

var signals struct {
	once sync.Once
	file *os.File // nil where the host serves no signals: then none ever comes.
}

// openSignals runs under handlers' lock, before the first Notify or Ignore returns, so that no signal
// is lost after it.
func openSignals() {
	signals.once.Do(func() {
		fd, err := syscall.Open("/run/signals", syscall.O_RDONLY, 0)
		if err != nil {
			return
		}
		if err := syscall.SetNonblock(fd, true); err != nil {
			syscall.Close(fd)
			return
		}
		signals.file = os.NewFile(uintptr(fd), "/run/signals")
	})
}

// The runtime holds no signal state on wasip1 (its tables are empty), so it is kept here.
var ignored [numSig]atomic.Bool

func enableSignal(sig int) {
	openSignals()
	ignored[sig].Store(false)
}

func disableSignal(sig int) {
	ignored[sig].Store(false)
}

func ignoreSignal(sig int) {
	openSignals()
	ignored[sig].Store(true)
	watchSignalLoopOnce.Do(func() { go watchSignalLoop() })
}

func signalIgnored(sig int) bool {
	return ignored[sig].Load()
}

func loop() {
	if signals.file == nil {
		return
	}
	var number [1]byte
	for {
		if n, err := signals.file.Read(number[:]); n != 1 || err != nil {
			return // The host is going away.
		}
		deliver(int(number[0]))
	}
}

func deliver(n int) {
	if n <= 0 || n >= numSig || signalIgnored(n) {
		return
	}
	handlers.Lock()
	wanted := handlers.ref[n] > 0
	handlers.Unlock()
	if wanted {
		process(syscall.Signal(n))
		return
	}
	switch n {
	case 17, 18, 23, 28: // CHLD, CONT, URG, WINCH: nothing by default.
	default:
		syscall.Exit(128 + n)
	}
}

// waitUntilIdle is what Stop calls instead of signalWaitUntilIdle: process delivers under handlers'
// lock, so nothing is under way once Stop has had that lock.
func waitUntilIdle() {}
