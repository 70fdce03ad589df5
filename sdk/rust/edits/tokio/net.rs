// SPDX-License-Identifier: Apache-2.0
//! TCP on WASI preview 1 hosts that serve the network as files.
//!
//! Opening `/net/tcp/HOST:PORT` dials, opening `/net/listen/PORT` listens. Names are resolved by the host when it
//! dials, so here a look-up only gives out a placeholder address, from which a later connect finds the name again.

use crate::net::{TcpListener, TcpStream, ToSocketAddrs};

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::sync::Mutex;

/// The names looked up so far; a name's index is in its placeholder address.
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
const NAMES_MAX: usize = 4096;
/// What a descriptor is connected to or listens on, for `peer_addr` and `local_addr`: WASI has no call for it.
/// An entry outlives its descriptor and is replaced when the number is used again.
static ADDRESSES: Mutex<BTreeMap<RawFd, SocketAddr>> = Mutex::new(BTreeMap::new());
pub(crate) const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Unique local addresses whose first 96 bits spell "dormouse".
const PLACEHOLDER: [u16; 6] = [0xfd64, 0x6f72, 0x6d6f, 0x7573, 0x6500, 0];

pub(crate) fn resolve(host: &str, port: u16) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)].into_iter());
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(fine) {
        let text = format!("not a host name: {host:?}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut names = NAMES.lock().unwrap_or_else(|e| e.into_inner());
    let index = match names.iter().position(|n| n.eq_ignore_ascii_case(host)) {
        Some(index) => index,
        None if names.len() == NAMES_MAX => {
            return Err(io::Error::new(io::ErrorKind::Other, "too many different host names"));
        }
        None => {
            names.push(host.to_owned());
            names.len() - 1
        }
    };
    let [a, b, c, d, e, f] = PLACEHOLDER;
    let ip = Ipv6Addr::new(a, b, c, d, e, f, (index >> 16) as u16, index as u16);
    Ok(vec![SocketAddr::new(ip.into(), port)].into_iter())
}

/// As `resolve`, for "host:port".
pub(crate) fn resolve_pair(pair: &str) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let parsed = pair.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parsed {
        Some((host, port)) => resolve(host, port),
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "invalid socket address")),
    }
}

/// The path whose opening dials `addr`.
fn dial_path(addr: SocketAddr) -> io::Result<String> {
    let host = match addr.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) if ip.segments()[..6] == PLACEHOLDER => {
            let [.., high, low] = ip.segments();
            let names = NAMES.lock().unwrap_or_else(|e| e.into_inner());
            let index = usize::from(high) << 16 | usize::from(low);
            let name = names.get(index);
            name.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?
        }
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if host == "kube" {
        return Ok("/net/kube".to_owned());
    }
    Ok(format!("/net/tcp/{host}:{}", addr.port()))
}

/// Opens a stream of the host's and makes its descriptor a non-blocking socket of the standard library's.
pub(crate) fn open<T: FromRawFd>(path: &str) -> io::Result<T> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let fd = file.into_raw_fd();
    // SAFETY: the descriptor is ours and open; from here on `T` owns it.
    let socket = unsafe { std::mem::ManuallyDrop::new(std::net::TcpStream::from_raw_fd(fd)) };
    let set = socket.set_nonblocking(true);
    let owned = unsafe { T::from_raw_fd(fd) };
    set.map(|()| owned)
}

impl TcpStream {
    /// Opens a TCP connection to a remote host.
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address");
        for addr in addr.to_socket_addrs(super::super::addr::sealed::Internal).await? {
            match connect(addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

async fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::from_std(open(&dial_path(addr)?)?)?;
    remember(&stream, addr);
    // The host connects in the background; the stream is writable once that is decided. Whether it succeeded shows in
    // the first read or write.
    stream.writable().await?;
    Ok(stream)
}

fn remember(socket: &impl AsRawFd, addr: SocketAddr) {
    ADDRESSES.lock().unwrap_or_else(|e| e.into_inner()).insert(socket.as_raw_fd(), addr);
}

/// A stream that was accepted: the host does not say from where.
pub(crate) fn forget(socket: &impl AsRawFd) {
    ADDRESSES.lock().unwrap_or_else(|e| e.into_inner()).remove(&socket.as_raw_fd());
}

pub(crate) fn address_of(socket: &impl AsRawFd) -> SocketAddr {
    let addresses = ADDRESSES.lock().unwrap_or_else(|e| e.into_inner());
    addresses.get(&socket.as_raw_fd()).copied().unwrap_or(UNKNOWN)
}

impl TcpListener {
    /// Creates a new listener on the port of the given address; the host decides on which addresses.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address");
        for addr in addr.to_socket_addrs(super::super::addr::sealed::Internal).await? {
            match listen(addr) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::from_std(open(&format!("/net/listen/{}", addr.port()))?)?;
    remember(&listener, addr);
    Ok(listener)
}

/// A TCP socket that is not yet a stream or listener. Options have no effect: the connection is the host's.
#[derive(Debug, Default)]
pub struct TcpSocket {
    bound: Mutex<Option<SocketAddr>>,
}

#[allow(missing_docs)]
impl TcpSocket {
    pub fn new_v4() -> io::Result<TcpSocket> {
        Ok(TcpSocket::default())
    }
    pub fn new_v6() -> io::Result<TcpSocket> {
        Ok(TcpSocket::default())
    }
    pub fn set_keepalive(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
    pub fn set_reuseaddr(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
    pub fn set_send_buffer_size(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    pub fn set_recv_buffer_size(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound.lock().unwrap_or_else(|e| e.into_inner()).unwrap_or(UNKNOWN))
    }
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        *self.bound.lock().unwrap_or_else(|e| e.into_inner()) = Some(addr);
        Ok(())
    }
    /// Starts listening on the address given to `bind`.
    pub fn listen(self, _backlog: u32) -> io::Result<TcpListener> {
        listen(self.local_addr()?)
    }
    /// Establishes a connection to the peer at `addr`.
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        connect(addr).await
    }
}
