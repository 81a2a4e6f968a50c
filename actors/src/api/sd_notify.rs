//! Tells systemd how this node is, if systemd started it: `sd_notify(3)`, which is one datagram a word.
//!
//!   launch ──READY, STOPPING──▶ [notify] ──datagram──▶ $NOTIFY_SOCKET
//!   health ──STATUS, WATCHDOG───▶
//!
//! A manager that does not listen costs nothing: nothing here waits, and a word that does not fit is dropped.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// A status is for a line of `systemctl status`.
const STATUS_CHARS_MAX: usize = 200;

/// Cheap to clone. Silent if nobody asked to be told.
#[derive(Clone, Default)]
pub struct Notify(Option<Arc<Manager>>);

struct Manager {
    socket: UnixDatagram,
    addr: SocketAddr,
    /// Without a sign of life for so long, the manager kills this process.
    watchdog: Option<Duration>,
}

impl Notify {
    /// As systemd says in the environment. A socket that is of no use is told, and no reason not to start.
    pub fn from_env() -> Self {
        let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let read = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        // The watchdog may be meant for a wrapper that started us.
        let ours = read("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = read("WATCHDOG_USEC").filter(|us| ours && *us > 0).map(Duration::from_micros);
        Self::to(&socket.to_string_lossy(), watchdog).unwrap_or_else(|why| {
            tracing::warn!("NOTIFY_SOCKET {}: {why}; systemd is not told how this node is", socket.to_string_lossy());
            Self::default()
        })
    }

    /// `socket` is a path, or an abstract name behind an `@`.
    pub fn to(socket: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        let addr = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if socket.starts_with('/') => SocketAddr::from_pathname(socket)?,
            None => return Err(io::Error::new(io::ErrorKind::Unsupported, "is neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(Manager { socket, addr, watchdog }))))
    }

    /// The tree has started. Whether the node does its job by then is for [`Self::status`] and for `/health/ready`:
    /// a node whose cameras are away must not be killed for it.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    pub fn status(&self, text: &str) {
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_CHARS_MAX).collect();
        self.say(&format!("STATUS={line}"));
    }

    /// How often a sign of life is due: twice in the time after which its absence is fatal.
    pub fn alive_every(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog.map(|within| within / 2)
    }

    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, words: &str) {
        if let Some(Manager { socket, addr, .. }) = self.0.as_deref() {
            // A full socket or a manager that restarts: the next word comes soon.
            let _ = socket.send_to_addr(words.as_bytes(), addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 1024];
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let length = socket.recv(&mut bytes).expect("it was told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn a_manager_is_told_in_its_words() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("binds");
        let notify = Notify::to(&path.display().to_string(), Some(Duration::from_secs(30))).expect("a socket");
        assert_eq!(notify.alive_every(), Some(Duration::from_secs(15)));
        notify.ready();
        notify.status("not ready: outbox: disk\nfull");
        notify.alive();
        notify.stopping();
        let words: Vec<String> = (0..4).map(|_| heard(&manager)).collect();
        let wanted = ["READY=1", "STATUS=not ready: outbox: disk full", "WATCHDOG=1", "STOPPING=1\nSTATUS=stopping"];
        assert_eq!(words, wanted);
    }

    #[test]
    fn an_abstract_name_is_reached_too() {
        let name = format!("watchtree-test-{}", std::process::id());
        let addr = SocketAddr::from_abstract_name(&name).expect("an address");
        let manager = UnixDatagram::bind_addr(&addr).expect("binds");
        Notify::to(&format!("@{name}"), None).expect("a socket").ready();
        assert_eq!(heard(&manager), "READY=1");
    }

    #[test]
    fn a_manager_that_is_gone_or_full_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("binds");
        let notify = Notify::to(&path.display().to_string(), None).expect("a socket");
        // Nobody reads: the socket's queue is full long before.
        (0..10_000).for_each(|_| notify.alive());
        drop(manager);
        notify.alive();
        assert!(Notify::to("vsock:2:1234", None).is_err());
        Notify::default().alive();
    }
}
