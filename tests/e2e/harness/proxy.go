// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// Proxy passes TCP connections on to the API server, and fails as networks do. TLS goes through it untouched.
// Threads: safe from any goroutine.
type Proxy struct {
	Address string // 127.0.0.1:PORT

	listener net.Listener
	target   string

	mutex       sync.Mutex
	connections map[*proxied]bool
	accepted    int
	refusing    bool
	delay       time.Duration
	rate        int           // Bytes a second of each connection and way; 0: no bound.
	stalled     chan struct{} // Closed when bytes may pass.
}

type proxied struct {
	client, server net.Conn
	gate           chan struct{} // As Proxy.stalled when the connection was stalled; nil: bytes pass.
}

// StartProxy starts a proxy before the cluster's API server, until the test ends.
func (c *Cluster) StartProxy(t testing.TB) *Proxy {
	t.Helper()
	server, err := url.Parse(c.Server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), listener: listener, target: server.Host, connections: map[*proxied]bool{}}
	go p.serve()
	t.Cleanup(func() {
		listener.Close()
		p.Cut()
		p.Resume()
	})
	return p
}

// KubeconfigVia is the administrator's kubeconfig with another address of the API server; it returns the path.
func (c *Cluster) KubeconfigVia(t testing.TB, server string) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = server
	}
	path := filepath.Join(t.TempDir(), "proxied.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mutex.Lock()
		p.accepted++
		refusing := p.refusing
		p.mutex.Unlock()
		if refusing {
			reset(client)
			continue
		}
		go p.pass(client)
	}
}

func (p *Proxy) pass(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	c := &proxied{client: client, server: server}
	p.mutex.Lock()
	p.connections[c] = true
	p.mutex.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() { p.copy(c, way[0], way[1]) })
	}
	both.Wait()
	p.mutex.Lock()
	delete(p.connections, c)
	p.mutex.Unlock()
}

// copy ends both sides when one has ended.
func (p *Proxy) copy(c *proxied, from, to net.Conn) {
	defer c.client.Close()
	defer c.server.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mutex.Lock()
		gate, delay := c.gate, p.delay
		if p.rate > 0 {
			delay += time.Duration(n) * time.Second / time.Duration(p.rate)
		}
		p.mutex.Unlock()
		if gate != nil {
			<-gate
		}
		if delay > 0 {
			<-time.After(delay) // The fault itself: a slow network.
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				reset(to)
			}
			return
		}
	}
}

// reset ends a connection as a crashed peer does: RST, not FIN.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0) //nolint:errcheck
	}
	c.Close()
}

// Cut resets all connections and returns how many there were. New ones pass.
func (p *Proxy) Cut() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for c := range p.connections {
		reset(c.client)
		reset(c.server)
	}
	return len(p.connections)
}

// Stall holds back all bytes of the connections that there are now, both ways; new connections pass.
func (p *Proxy) Stall() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
	for c := range p.connections {
		c.gate = p.stalled
	}
	return len(p.connections)
}

// Resume lets stalled bytes pass again.
func (p *Proxy) Resume() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
	for c := range p.connections {
		c.gate = nil
	}
}

// Refuse resets new connections as they come, until it is called with false.
func (p *Proxy) Refuse(refuse bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.refusing = refuse
}

// Delay holds each piece of bytes back for so long.
func (p *Proxy) Delay(d time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.delay = d
}

// Throttle lets so many bytes a second pass, each way of each connection; 0 ends it.
func (p *Proxy) Throttle(bytesPerSecond int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rate = bytesPerSecond
}

// Accepted is how many connections have come so far.
func (p *Proxy) Accepted() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.accepted
}
