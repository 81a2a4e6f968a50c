//! Times, windows and the socket: what every connection of a node has in common.

use crate::Role;
use crate::limits::{CLIPS_AT_ONCE_MAX, FRAME_BYTES_MAX, FRAMES_IN_FLIGHT_MAX, STREAMS_MAX};
use quinn::{TransportConfig, VarInt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// What this program speaks, the newest first: this version and the two before it. The newest that both sides speak is
/// taken; without one in common the handshake ends there, by name. Raised when a message changes shape: what is
/// added at the end of an enum is not said to a peer of an older version.
pub const VERSIONS: [Version; 3] = [Version(4), Version(3), Version(2)];

/// A version of what nodes say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u8);

impl Version {
    /// Telemetry, datagrams, renewal, the core's stream and the directory of gpu nodes.
    pub const FABRIC: Self = Self(3);

    /// Events with zones, both scores, clips and snapshots, and blindness as an event.
    pub const EDGE: Self = Self(4);

    /// As TLS negotiates it.
    pub(super) fn alpn(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    pub(super) fn from_alpn(name: &[u8]) -> Option<Self> {
        VERSIONS.into_iter().find(|version| version.alpn() == name)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "watchtree/{}", self.0)
    }
}

/// A peer that has not finished its handshake by then is dropped.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// A dial that has not succeeded by then has failed, name lookup included.
pub const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// An opened stream that has not said what it is by then is given up.
pub const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// A frame that has not arrived whole by then is given up: nobody waits for its verdict any more.
pub const FRAME_WITHIN: Duration = Duration::from_secs(10);

/// The dialler says something at least this often, and the other side acknowledges it.
pub const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(1);

/// A peer that was silent for so long is gone. The only failure detector between hosts.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);

/// Handshakes that an endpoint has under way at once, some 40 KiB each. When full, the next is turned away and dials
/// again. As many as come in the second after a relay's restart: with 64, a thousand edges were turned away twice each.
pub const HANDSHAKES_MAX: usize = 512;

/// What may arrive before anybody reads it.
struct Windows {
    /// On one stream.
    stream: u32,
    /// On all streams; when full, the peer waits, control included.
    connection: u32,
}

/// A gpu node's: one stream may hold a whole frame and its headers. So that ordinary frames (under 1.6 MB) never fill
/// it, the connection holds more than `FRAMES_IN_FLIGHT_MAX` of them.
const OF_FRAMES: Windows =
    Windows { stream: FRAME_BYTES_MAX as u32 + 64 * 1024, connection: 4 * FRAME_BYTES_MAX as u32 };

/// All others': messages, and clips that nobody reads, as many as may be on the way, leave room for control.
const OF_MESSAGES: Windows = Windows { stream: 1024 * 1024, connection: 2 * CLIPS_AT_ONCE_MAX as u32 * 1024 * 1024 };

/// What this side keeps until it is acknowledged. When full, writers wait. For the same reason it
/// holds `FRAMES_IN_FLIGHT_MAX` frames of 720p and a message.
const SEND_WINDOW_BYTES: u64 = FRAMES_IN_FLIGHT_MAX as u64 * (1280 * 720 * 3 / 2) + 1024 * 1024;

/// Datagrams that wait to be sent or read, of one connection.
const DATAGRAMS_BYTES_MAX: usize = 16 * 1024;

/// Kernel buffers of the socket, each way. The usual 212 KB lost packets by the thousand on
/// loopback; 4 MiB lost none. Best effort: the host's `net.core.rmem_max` and `wmem_max` cap it.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Before anything was measured. QUIC's 333 ms would repeat a lost first packet only after 1 s,
/// which is what dialling a node that is just starting meets.
const FIRST_RTT_GUESS: Duration = Duration::from_millis(100);

/// Of connections that a node of role `here` dials.
pub(super) fn dialling_config(here: Role) -> Arc<TransportConfig> {
    let mut config = transport_config(here);
    config.keep_alive_interval(Some(KEEP_ALIVE_EVERY));
    Arc::new(config)
}

/// Of connections that it accepts: kept alive by the dialler, or a thousand peers cost twice the packets.
pub(super) fn accepting_config(here: Role) -> Arc<TransportConfig> {
    Arc::new(transport_config(here))
}

fn transport_config(here: Role) -> TransportConfig {
    let windows = if here == Role::Gpu { OF_FRAMES } else { OF_MESSAGES };
    let mut config = TransportConfig::default();
    let silence_max = SILENCE_MAX.try_into().expect("4 s fit the millisecond field");
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(FRAMES_IN_FLIGHT_MAX))
        .stream_receive_window(VarInt::from_u32(windows.stream))
        .receive_window(VarInt::from_u32(windows.connection))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(Some(silence_max))
        .initial_rtt(FIRST_RTT_GUESS)
        .congestion_controller_factory(Arc::new(super::congestion::ShortQueue))
        // Without it, a stream that has begun goes on until it has nothing more to send, whatever its priority: a clip would
        // hold up control for ever. Frames have priorities of their own, so that they leave one after another.
        .send_fairness(true)
        // When full, the oldest are dropped: newest wins.
        .datagram_receive_buffer_size(Some(DATAGRAMS_BYTES_MAX))
        .datagram_send_buffer_size(DATAGRAMS_BYTES_MAX);
    config
}

pub(super) fn listening_socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = udp(Domain::for_address(addr))?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(addr))?;
    Ok(socket.into())
}

/// Reaches both address families where the host has both.
pub(super) fn dialling_socket() -> io::Result<UdpSocket> {
    let v4: SocketAddr = (std::net::Ipv4Addr::UNSPECIFIED, 0).into();
    listening_socket((std::net::Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| listening_socket(v4))
}

fn udp(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    for result in [socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES), socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)] {
        if let Err(error) = result {
            tracing::debug!(%error, "UDP buffers stay at the host's default size");
        }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MESSAGE_BYTES_MAX;

    #[test]
    fn ordinary_frames_in_flight_leave_room_for_control() {
        let frame_bytes = 1280 * 720 * 3 / 2;
        assert!(u64::from(FRAMES_IN_FLIGHT_MAX) * frame_bytes < u64::from(OF_FRAMES.connection));
        assert!(u64::from(FRAMES_IN_FLIGHT_MAX) * frame_bytes < SEND_WINDOW_BYTES);
    }

    #[test]
    fn clips_that_nobody_reads_leave_room_for_control() {
        let message_bytes = MESSAGE_BYTES_MAX as u32;
        assert!(CLIPS_AT_ONCE_MAX as u32 * OF_MESSAGES.stream + 4 * message_bytes < OF_MESSAGES.connection);
        assert!(OF_MESSAGES.stream > message_bytes);
    }
}
