// SPDX-License-Identifier: Apache-2.0
//! What the connector uses of `socket2`, where a connection's options are the host's and a socket exists only once it
//! is connected.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

pub(super) struct Domain;
impl Domain {
    pub(super) fn for_address(_: SocketAddr) -> Domain {
        Domain
    }
}

pub(super) struct Type;
impl Type {
    pub(super) const STREAM: Type = Type;
}

pub(super) struct Protocol;
impl Protocol {
    pub(super) const TCP: Protocol = Protocol;
}

pub(super) struct SockAddr;
impl From<SocketAddr> for SockAddr {
    fn from(_: SocketAddr) -> SockAddr {
        SockAddr
    }
}

#[derive(Default)]
pub(super) struct TcpKeepalive;
#[allow(dead_code)]
impl TcpKeepalive {
    pub(super) fn new() -> TcpKeepalive {
        TcpKeepalive
    }
    pub(super) fn with_time(self, _: Duration) -> TcpKeepalive {
        self
    }
    pub(super) fn with_interval(self, _: Duration) -> TcpKeepalive {
        self
    }
    pub(super) fn with_retries(self, _: u32) -> TcpKeepalive {
        self
    }
}

pub(super) struct Socket(TcpSocket);
impl Socket {
    pub(super) fn new(_: Domain, _: Type, _: Option<Protocol>) -> io::Result<Socket> {
        TcpSocket::new_v4().map(Socket)
    }
    pub(super) fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn set_tcp_keepalive(&self, _: &TcpKeepalive) -> io::Result<()> {
        Ok(())
    }
    pub(super) fn bind(&self, _: &SockAddr) -> io::Result<()> {
        Ok(())
    }
}
// For versions that use the socket as it is.
#[allow(dead_code)]
impl Socket {
    pub(super) async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.0.connect(addr).await
    }
}
impl std::ops::Deref for Socket {
    type Target = TcpSocket;
    fn deref(&self) -> &TcpSocket {
        &self.0
    }
}
impl From<Socket> for TcpSocket {
    fn from(socket: Socket) -> TcpSocket {
        socket.0
    }
}
