// SPDX-License-Identifier: Apache-2.0

// The fixture guest in Go: what Go's runtime and its net, os and signal packages ask of the host, and each way to fail.
// One program, since each Go module costs megabytes to build; its first argument says which part. What it expects and
// does not find it prints on stderr, and exits with 1.
package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func check(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func expect(what string, holds bool) {
	if !holds {
		fmt.Fprintf(os.Stderr, "%s does not hold\n", what)
		os.Exit(1)
	}
}

func main() {
	expect("an argument is given", len(os.Args) > 1)
	parts := map[string]func(){
		"files": files, "arguments": arguments, "clocks": clocks, "random": random, "goroutines": goroutines,
		"kube": kube, "serve": serve, "signals": signals,
		"panic": func() { panic("on purpose") }, "nil": nilPointer, "exit": func() { os.Exit(42) },
		"memory": memory, "recursion": func() { fmt.Println(recursion(1)) }, "loop": loop, "deadlock": func() { select {} },
	}
	part, known := parts[os.Args[1]]
	expect(os.Args[1]+" is a part", known)
	part()
	fmt.Println("ok")
}

func files() {
	dir := os.Args[2]
	name, other := filepath.Join(dir, "a file"), filepath.Join(dir, "sub", "ä")
	check("write", os.WriteFile(name, []byte("one\n"), 0o600))
	file, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	check("open", err)
	_, err = file.WriteString("two\n")
	check("append", err)
	_, err = file.Seek(4, io.SeekStart)
	check("seek", err)
	rest, err := io.ReadAll(file)
	check("read", err)
	expect("the rest is what was appended", string(rest) == "two\n")
	check("truncate", file.Truncate(3))
	info, err := file.Stat()
	check("stat", err)
	expect("the size is 3", info.Size() == 3 && info.Mode().IsRegular() && time.Since(info.ModTime()) < time.Hour)
	check("sync", file.Sync())
	check("close", file.Close())
	check("mkdir", os.MkdirAll(filepath.Dir(other), 0o755))
	check("rename", os.Rename(name, other))
	_, err = os.Stat(name)
	expect("the old name is gone", errors.Is(err, fs.ErrNotExist))
	check("symlink", os.Symlink("ä", filepath.Join(dir, "sub", "link")))
	through, err := os.ReadFile(filepath.Join(dir, "sub", "link"))
	check("read through a link", err)
	expect("the link leads there", string(through) == "one")
	var seen []string
	check("walk", filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		seen = append(seen, strings.TrimPrefix(path, dir))
		return err
	}))
	expect("all is listed: "+strings.Join(seen, " "), strings.Join(seen, " ") == " /sub /sub/link /sub/ä")
	_, err = os.Open(filepath.Join(dir, "..", "..", "etc", "shadow"))
	expect("nothing outside is there", err != nil)
	check("remove", os.RemoveAll(filepath.Join(dir, "sub")))
}

func arguments() {
	for _, argument := range os.Args[2:] {
		fmt.Println("argument", argument)
	}
	for _, variable := range os.Environ() {
		fmt.Println("variable", variable)
	}
}

func clocks() {
	start := time.Now()
	expect("this is after 2025", start.Year() > 2025)
	time.Sleep(20 * time.Millisecond)
	expect("a sleep takes its time", time.Since(start) >= 20*time.Millisecond)
	select {
	case <-time.After(time.Minute):
		expect("the earlier of two timers comes first", false)
	case <-time.After(10 * time.Millisecond):
	}
}

func random() {
	var a, b [32]byte
	_, err := rand.Read(a[:])
	check("random", err)
	_, err = rand.Read(b[:])
	check("random", err)
	expect("two random numbers differ", a != b)
}

func goroutines() {
	var sum, all = 0, sync.WaitGroup{}
	numbers := make(chan int)
	for i := range 1000 {
		all.Go(func() { runtime.Gosched(); numbers <- i })
	}
	go func() { all.Wait(); close(numbers) }()
	for n := range numbers {
		sum += n
	}
	expect("each has sent its number", sum == 499500)
	runtime.GC()
}

// ask sends one request and yields the answer's first line.
func ask(connection net.Conn, path string) string {
	_, err := fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: kube\r\nConnection: close\r\n\r\n", path)
	check("write", err)
	line, err := bufio.NewReader(connection).ReadString('\n')
	check("read", err)
	return strings.TrimSpace(line)
}

func kube() {
	for range 2 {
		connection, err := net.Dial("tcp", net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")))
		check("dial", err)
		expect("the API answers", ask(connection, "/version") == "HTTP/1.1 200 OK")
		check("close", connection.Close())
	}
	idle, err := net.Dial("tcp", "kube:80")
	check("dial", err)
	check("set a deadline", idle.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = idle.Read(make([]byte, 1))
	expect("a read ends at its deadline", errors.Is(err, os.ErrDeadlineExceeded))
	_, err = net.DialTimeout("tcp", "example.com:443", 5*time.Second)
	expect("no policy, no egress", err != nil)
}

func serve() {
	listener, err := net.Listen("tcp", ":8080")
	check("listen", err)
	_, err = net.Listen("tcp", ":8080")
	expect("a port is taken once", err != nil)
	fmt.Println("listening")
	for {
		connection, err := listener.Accept()
		check("accept", err)
		go func() {
			defer connection.Close() //nolint:errcheck
			line, err := bufio.NewReader(connection).ReadString('\n')
			check("read", err)
			fmt.Println("asked", strings.TrimSpace(line))
			_, err = io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			check("write", err)
		}()
	}
}

func signals() {
	ending := make(chan os.Signal, 1)
	signal.Notify(ending, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println("got", <-ending)
	os.Exit(7)
}

func nilPointer() {
	var nothing *struct{ field int }
	if len(os.Args) > 1 {
		fmt.Println(nothing.field)
	}
}

func memory() {
	var all [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(i)
		}
		all = append(all, block)
		if len(all)%8 == 0 {
			fmt.Println("MiB", len(all))
		}
	}
}

func recursion(depth int) int {
	var frame [1024]byte
	frame[depth%len(frame)] = 1
	return recursion(depth+1) + int(frame[(depth+1)%len(frame)])
}

func loop() {
	fmt.Println("looping")
	for i := 0; ; i++ {
		if i < 0 {
			return
		}
	}
}
