// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package net

// How package net reaches the world in a Dormouse guest.
//
// A guest has no sockets. Its host serves streams as files: opening /net/tcp/HOST:PORT dials, opening
// /net/listen/PORT binds, and the kernel's part (readiness, deadlines, close) is the runtime's poller as
// for any socket. This file takes the place of the functions that package net fakes on wasip1: socket,
// accept, and the lookups. All above them (Dialer, Listener, net/http, crypto/tls) is Go's own.
//
// Names. The host resolves, for it must see the name to apply the pod's policy. So a lookup here
// answers with an address out of 198.18.0.0/15 (RFC 2544, never routed) that stands for the name, and
// the dial turns that address back into the name.
//
// What stays in this process, as Go has it: UDP, Unix sockets, port 0, TCP listeners on a loopback
// address, which nobody outside a pod could reach either, and connections to a listener of its own.

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// namesMax is the size of 198.18.0.0/15: a name is never forgotten, since an address may be kept by the
// program and must not come to mean another name.
const namesMax = 1 << 17

var guestNames struct {
	sync.Mutex
	index map[string]int
	names []string
}

// nameToIP gives the address that stands for name.
func nameToIP(name string) (IP, error) {
	if !isDomainName(name) {
		return nil, newDNSError(errNoSuchHost, name, "")
	}
	name = canonicalName(name)
	if name == "" {
		return nil, newDNSError(errNoSuchHost, name, "")
	}
	if name == "localhost" || len(name) > 10 && name[len(name)-10:] == ".localhost" {
		return IPv4(127, 0, 0, 1).To4(), nil
	}
	t := &guestNames
	t.Lock()
	defer t.Unlock()
	i, ok := t.index[name]
	if !ok {
		if len(t.names) == namesMax {
			return nil, &DNSError{Err: "this guest has looked up " + strconv.Itoa(namesMax) + " names, no more can be told apart", Name: name}
		}
		i = len(t.names)
		t.names = append(t.names, name)
		if t.index == nil {
			t.index = make(map[string]int)
		}
		t.index[name] = i
	}
	return IP{198, byte(18 + i>>16), byte(i >> 8), byte(i)}, nil
}

// ipToName is the inverse of nameToIP; "" if ip stands for no name.
func ipToName(ip IP) string {
	ip = ip.To4()
	if ip == nil || ip[0] != 198 || ip[1]&^1 != 18 {
		return ""
	}
	i := int(ip[1]&1)<<16 | int(ip[2])<<8 | int(ip[3])
	t := &guestNames
	t.Lock()
	defer t.Unlock()
	if i >= len(t.names) {
		return ""
	}
	return t.names[i]
}

// canonicalName lowers the case and drops the dot at the end, so that a name has one address.
func canonicalName(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	if n := len(b); n > 0 && b[n-1] == '.' {
		b = b[:n-1]
	}
	return string(b)
}

func (r *Resolver) lookupIP(ctx context.Context, network, host string) ([]IPAddr, error) {
	if network != "" && network[len(network)-1] == '6' {
		return nil, newDNSError(errNoSuchHost, host, "")
	}
	ip, err := nameToIP(host)
	if err != nil {
		return nil, err
	}
	return []IPAddr{{IP: ip}}, nil
}

func (r *Resolver) lookupHost(ctx context.Context, host string) ([]string, error) {
	ip, err := nameToIP(host)
	if err != nil {
		return nil, err
	}
	return []string{ip.String()}, nil
}

func (r *Resolver) lookupCNAME(ctx context.Context, host string) (string, error) {
	if _, err := nameToIP(host); err != nil {
		return "", err
	}
	return canonicalName(host) + ".", nil
}

func (r *Resolver) lookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip := ParseIP(addr)
	if ip != nil && ip.IsLoopback() {
		return []string{"localhost"}, nil
	}
	if name := ipToName(ip); name != "" {
		return []string{name + "."}, nil
	}
	return nil, newDNSError(errNoSuchHost, addr, "")
}

// Other record types would need a name server, which a guest does not have.

func (r *Resolver) lookupSRV(ctx context.Context, service, proto, name string) (string, []*SRV, error) {
	return "", nil, newDNSError(errNoSuchHost, name, "")
}

func (r *Resolver) lookupMX(ctx context.Context, name string) ([]*MX, error) {
	return nil, newDNSError(errNoSuchHost, name, "")
}

func (r *Resolver) lookupNS(ctx context.Context, name string) ([]*NS, error) {
	return nil, newDNSError(errNoSuchHost, name, "")
}

func (r *Resolver) lookupTXT(ctx context.Context, name string) ([]string, error) {
	return nil, newDNSError(errNoSuchHost, name, "")
}

// socket dials (raddr given) or listens (raddr nil). Socket options (control) have no meaning for the
// host's streams and are left out.
func socket(ctx context.Context, net string, family, sotype, proto int, ipv6only bool, laddr, raddr sockaddr, control func(context.Context, string, string, syscall.RawConn) error) (*netFD, error) {
	if sotype == syscall.SOCK_STREAM {
		if to, ok := raddr.(*TCPAddr); ok && to != nil {
			if to.IP.IsLoopback() {
				if own, ok := ownListeners.Load(to.Port); ok {
					fd, err := dormouseSocket(ctx, net, own.(*netFD).family, sotype, proto, ipv6only, laddr, own.(*netFD).laddr.(sockaddr), nil)
					if err == nil {
						fd.raddr = to
					}
					return fd, err
				}
			}
			if _, here := sockets.Load(fakeAddr(to)); !here {
				return dialStream(ctx, net, family, to)
			}
		} else if at, ok := laddr.(*TCPAddr); raddr == nil && ok && at != nil && at.Port != 0 && !at.IP.IsLoopback() {
			return listenStream(ctx, net, family, at)
		}
	}
	return dormouseSocket(ctx, net, family, sotype, proto, ipv6only, laddr, raddr, nil)
}

// openStream gives the stream that the host serves at path.
func openStream(net string, family int, path, action string) (*netFD, error) {
	sysfd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError(action, err)
	}
	fd := newFD(net, sysfd)
	fd.family = family
	fd.sotype = syscall.SOCK_STREAM
	if err := fd.init(); err != nil {
		fd.Close()
		return nil, err
	}
	return fd, nil
}

// isKube tells whether host:port is the Kubernetes API, which the host serves as /net/kube: plain HTTP,
// the guest's identity added on the way. Its other names count for plain HTTP only.
func isKube(host, port string) bool {
	switch host {
	case "kube":
		return true
	case "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local":
		return port == "80"
	}
	h, _ := syscall.Getenv("KUBERNETES_SERVICE_HOST")
	p, _ := syscall.Getenv("KUBERNETES_SERVICE_PORT")
	return h != "" && host == canonicalName(h) && port == p
}

func dialStream(ctx context.Context, net string, family int, to *TCPAddr) (*netFD, error) {
	host := ipToName(to.IP)
	action := "connect"
	port := strconv.Itoa(to.Port)
	if host == "" {
		host = ipEmptyString(to.IP)
	} else {
		action = "connect to " + host + ":" + port // The address of a name says nothing to a reader of the error.
	}
	kube := isKube(host, port)
	path := "/net/kube"
	if !kube {
		path = "/net/tcp/" + JoinHostPort(host, port)
	}
	fd, err := openStream(net, family, path, action)
	if errors.Is(err, syscall.EACCES) && to.IP.IsLoopback() {
		// The program may have said localhost, which a policy tells from 127.0.0.1.
		fd, err = openStream(net, family, "/net/tcp/localhost:"+port, action)
	}
	if err != nil {
		return nil, err
	}
	fd.isConnected = true
	fd.setAddr(strangerAddr(), to)
	if !kube {
		if err := fd.awaitConnected(ctx, action); err != nil {
			fd.Close()
			return nil, err
		}
	}
	return fd, nil
}

// awaitConnected waits until the host has connected the stream or failed to, or ctx is done.
func (fd *netFD) awaitConnected(ctx context.Context, action string) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		fd.pfd.SetWriteDeadline(aLongTimeAgo)
		close(interrupted)
	})
	err := fd.pfd.WaitWrite()
	if !stop() {
		<-interrupted
		fd.pfd.SetWriteDeadline(noDeadline)
		return mapErr(ctx.Err())
	}
	if err != nil {
		return wrapSyscallError(action, err)
	}
	// An empty write brings the error of a failed connect, and nothing else.
	if _, err := syscall.Write(fd.pfd.Sysfd, nil); err != nil && err != syscall.EAGAIN {
		return os.NewSyscallError(action, err)
	}
	return nil
}

// A listener is Go's in-process one, so that this process reaches it as well, and accepts what the host
// accepts.

var (
	ownListeners  sync.Map // port → *netFD, the in-process listener
	hostListeners sync.Map // that *netFD → *netFD, the host's
)

func listenStream(ctx context.Context, net string, family int, at *TCPAddr) (*netFD, error) {
	host, err := openStream(net, family, "/net/listen/"+strconv.Itoa(at.Port), "listen")
	if err != nil {
		return nil, err
	}
	ip := at.IP
	if len(ip) == 0 {
		ip = IPv6unspecified
		if family == syscall.AF_INET {
			ip = IPv4zero
		}
	}
	fd, err := dormouseSocket(ctx, net, family, syscall.SOCK_STREAM, 0, false, &TCPAddr{IP: ip, Port: at.Port, Zone: at.Zone}, nil, nil)
	if err != nil {
		host.Close()
		return nil, err
	}
	ownListeners.Store(at.Port, fd)
	hostListeners.Store(fd, host)
	go passOn(host, fd)
	return fd, nil
}

// acceptPause is how long a guest that has too many streams waits for some to end.
const acceptPause = 100 * time.Millisecond

// passOn puts the connections that the host accepts where fd's accept finds them, until either is closed.
func passOn(host, fd *netFD) {
	for {
		conn, err := host.accept()
		switch {
		case err == nil:
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(acceptPause)
			continue
		default:
			fd.Close()
			return
		}
		conn.family = fd.family
		conn.sotype = fd.sotype
		conn.isConnected = true
		conn.setAddr(fd.laddr, strangerAddr())
		var waiting []*netFD
		ok := false
		select { // Whoever has received from one of these channels holds the queue.
		case ok = <-fd.incomingEmpty:
		case waiting, ok = <-fd.incoming:
		}
		if !ok {
			conn.Close()
			return
		}
		waiting = append(waiting, conn)
		if len(waiting) >= listenerBacklog() {
			fd.incomingFull <- waiting
		} else {
			fd.incoming <- waiting
		}
	}
}

func (fd *netFD) Close() error {
	if fd.fakeNetFD != nil {
		if host, ok := hostListeners.LoadAndDelete(fd); ok {
			ownListeners.CompareAndDelete(fd.laddr.(*TCPAddr).Port, fd)
			host.(*netFD).Close()
		}
	}
	return fd.dormouseClose()
}

var strangers atomic.Uint32

// strangerAddr is the far or near end of a stream, which the host does not disclose: an address of
// 192.0.2.0/24 (RFC 5737, never routed), so that no peer is taken for loopback, with a port of its own.
func strangerAddr() *TCPAddr {
	return &TCPAddr{IP: IPv4(192, 0, 2, 1), Port: int(32768 + strangers.Add(1)%32768)}
}

// The options of a kernel's TCP have no meaning for a stream, and are accepted: it is memory as far as
// the host, which takes care of the connection behind it.

func setNoDelay(fd *netFD, on bool) error   { return fd.option(dormouseSetNoDelay(fd, on)) }
func setKeepAlive(fd *netFD, on bool) error { return fd.option(dormouseSetKeepAlive(fd, on)) }
func setKeepAliveIdle(fd *netFD, d time.Duration) error {
	return fd.option(dormouseSetKeepAliveIdle(fd, d))
}
func setKeepAliveInterval(fd *netFD, d time.Duration) error {
	return fd.option(dormouseSetKeepAliveInterval(fd, d))
}
func setKeepAliveCount(fd *netFD, n int) error  { return fd.option(dormouseSetKeepAliveCount(fd, n)) }
func setLinger(fd *netFD, seconds int) error    { return fd.option(dormouseSetLinger(fd, seconds)) }
func setReadBuffer(fd *netFD, bytes int) error  { return fd.option(dormouseSetReadBuffer(fd, bytes)) }
func setWriteBuffer(fd *netFD, bytes int) error { return fd.option(dormouseSetWriteBuffer(fd, bytes)) }

func (fd *netFD) option(err error) error {
	if fd.fakeNetFD != nil {
		return err
	}
	return nil
}
