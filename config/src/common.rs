//! What every node's configuration has: the node itself, its certificate, where it listens.

use crate::Kind;
use crate::reader::Section;
use protocol::NodeName;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `[node]`
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `None`: the name in the node's certificate.
    pub name: Option<NodeName>,
    /// Everything the node keeps is below this directory.
    pub data_dir: PathBuf,
    /// Health and metrics; a loopback address.
    pub http: SocketAddr,
    pub log: LogFormat,
    /// `info`, or finer: `info,actors=debug`.
    pub log_level: String,
    /// Where the port programs are; `None`: beside the node's own program.
    pub ports_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `[tls]`: PEM files.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// The authority whose certificates are believed.
    pub ca: PathBuf,
    /// Who this node is.
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    pub quic: SocketAddr,
    /// The HTTP routes for people with a certificate; `None`: not served.
    pub https: Option<SocketAddr>,
}

/// Where to dial: a host name or address, and a port. As text `hub.example:7443` or `[::1]:7443`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// An IPv6 address is without its brackets here.
    pub host: String,
    pub port: u16,
}

/// The way out of a wrong [`HostPort`].
pub(crate) const HOST_PORT: &str = "use host:port, such as 10.0.0.2:7443";

/// Addresses in one list of whom to dial. More are refused.
pub(crate) const UPSTREAMS_MAX: usize = 8;

/// The longest host name that DNS carries.
const HOST_CHARS_MAX: usize = 253;

impl FromStr for HostPort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        parse_host_port(text).ok_or_else(|| format!("`{text}` is not an address; {HOST_PORT}"))
    }
}

fn parse_host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse::<u16>().ok())?.filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|_| inner)?,
        None => Some(host).filter(|host| is_host(host))?,
    };
    Some(HostPort { host: host.to_owned(), port })
}

fn is_host(host: &str) -> bool {
    (1..=HOST_CHARS_MAX).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        && !host.starts_with(['-', '.'])
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

pub(crate) fn node(root: &mut Section, kind: Kind) -> Option<Node> {
    let mut s = root.section("node");
    check_role(&mut s, kind);
    let name = s.opt("name", "use 1 to 48 of a-z, 0-9 and -, as in the node's certificate");
    let data_dir = s.must_path("data_dir", &format!("name a directory, such as data/{kind}", kind = kind.as_str()));
    let http = http(&mut s, kind);
    let log = s.choice("log").unwrap_or_default();
    let level_way_out = "use error, warn, info, debug or trace, or finer: info,actors=debug";
    let log_level = s.opt_with("log_level", level_way_out, |text| is_log_level(text).then(|| text.to_owned()));
    let ports_dir = s.path("ports_dir", "name the directory of watchtree-camera-port, or remove it");
    Some(Node { name, data_dir: data_dir?, http, log, log_level: log_level.unwrap_or("info".to_owned()), ports_dir })
}

fn check_role(s: &mut Section, kind: Kind) {
    let kind_name = kind.as_str();
    let read: Option<Kind> = s.must("role", &format!("write role = \"{kind_name}\""));
    if let Some(read) = read.filter(|read| *read != kind) {
        let other = read.as_str();
        let way_out = format!("start watchtree-{other} with this file, or write role = \"{kind_name}\"");
        s.fault_misplaced("role", &format!("\"{other}\""), &way_out);
    }
}

fn http(s: &mut Section, kind: Kind) -> SocketAddr {
    // One each, so that a laptop can run all three.
    let port = match kind {
        Kind::Edge => 9601,
        Kind::Relay => 9602,
        Kind::Gpu => 9603,
    };
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let http = s.or("http", default, &format!("use address:port, such as {default}"));
    if !http.ip().is_loopback() {
        let way_out = format!("the HTTP port has no login yet: use a loopback address, such as {default}");
        s.fault("http", &format!("\"{http}\""), &way_out);
    }
    http
}

/// Stricter than the log library, which takes `inof` for the name of a module and then logs nothing else.
fn is_log_level(text: &str) -> bool {
    text.split(',').all(|part| {
        let (target, level) = part.split_once('=').unwrap_or(("all", part));
        let target_fits =
            !target.is_empty() && target.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:-".contains(&b));
        target_fits && ["off", "error", "warn", "info", "debug", "trace"].contains(&level)
    })
}

pub(crate) fn tls(root: &mut Section) -> Option<Tls> {
    let mut s = root.section("tls");
    let ca = s.must_path("ca", "name the authority's certificate, such as tls/ca.pem");
    let cert = s.must_path("cert", "name this node's certificate, such as tls/node.pem");
    let key = s.must_path("key", "name the certificate's private key, such as tls/node.key");
    Some(Tls { ca: ca?, cert: cert?, key: key? })
}

pub(crate) fn listen(root: &mut Section, port: u16) -> Listen {
    listen_in(&mut root.section("listen"), port)
}

/// As [`listen`], where the section has keys of its own.
pub(crate) fn listen_in(section: &mut Section, port: u16) -> Listen {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let quic = section.or("quic", default, &format!("use address:port, such as {default}"));
    Listen { quic, https: section.opt("https", "use address:port, such as 0.0.0.0:7445, or remove it") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text_form() {
        for text in ["10.0.0.2:7443", "hub.example:1", "[::1]:7443", "my_host-2:65535"] {
            let address: HostPort = text.parse().expect(text);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        for text in
            ["x", "x:", ":1", "x:0", "x:65536", "x:+1", "::1:7443", "[::1]", "[x]:1", "a b:1", "https://x:1", "-x:1"]
        {
            assert!(text.parse::<HostPort>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn a_misspelt_log_level_is_refused() {
        for text in ["info", "off", "info,actors=debug", "warn,actors::outbox=trace"] {
            assert!(is_log_level(text), "{text} was refused");
        }
        for text in ["", "inof", "actors", "info,", "=debug", "a b=info"] {
            assert!(!is_log_level(text), "{text} was accepted");
        }
    }
}
