//! A client of the proxy: its lines, and the socket by which the upstream knows it.

use super::super::conditions::Way;
use super::super::line::Line;
use super::hub::{self, Hub};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Kernel buffers of each socket, each way: a full queue of the fastest link that we know, and some. The host's
/// `net.core.rmem_max` and `wmem_max` cap them.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Client {
    pub up: Line,
    pub down: Line,
    /// When something of it came last, either way.
    pub seen: Duration,
    pub outlet: Outlet,
}

impl Client {
    /// The `nth` of its proxy.
    pub fn new(seed: u64, nth: u64, seen: Duration, outlet: Outlet) -> Self {
        Self { up: Line::new(seed, nth * 2), down: Line::new(seed, nth * 2 + 1), seen, outlet }
    }

    pub fn line(&mut self, way: Way) -> &mut Line {
        if way == Way::Up { &mut self.up } else { &mut self.down }
    }
}

/// Where a client's packets come out towards the upstream, and where the upstream's come in. Dropped, it is closed.
pub(super) struct Outlet {
    pub socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Outlet {
    pub fn open(hub: &Arc<Hub>, client: SocketAddr, from: IpAddr) -> io::Result<Self> {
        let _inside = hub.runtime.enter();
        let socket = Arc::new(bind(SocketAddr::from((from, 0)))?);
        let reader = tokio::spawn(hub::read_upstream(hub.clone(), client, socket.clone()));
        Ok(Self { socket, reader })
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Must be called inside a tokio runtime.
pub(super) fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    for set in [socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)] {
        if let Err(error) = set {
            tracing::debug!(%error, "UDP buffers stay at the host's default size");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    UdpSocket::from_std(socket.into())
}
