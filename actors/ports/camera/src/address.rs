//! Addresses: what kind of source a URL names, and whether its place may be talked to.
//!
//!   url ─▶ scheme known? ─▶ host resolved once ─▶ every address allowed? ─▶ url with the address in it
//!
//! A camera's name is written by whoever may configure cameras, and answered by whoever runs its name server. Neither
//! is to lead this port to services of its own machine. What was checked is what is connected to.

use protocol::camera::Allow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How a source is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Rtsp,
    File,
    /// MJPEG.
    Http,
    Device,
    Test,
}

pub const SCHEMES: &str =
    "use rtsp://host/path, rtsps://, http://, https://, v4l2:///dev/video0, file:///path or test:ball";

/// Longer than a resolver that has lost its server takes for its first answer.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// How often it is said meanwhile that we wait.
const RESOLVE_STEP: Duration = Duration::from_millis(250);

/// A name has few addresses; a lying server may send many.
const ADDRESSES_MAX: usize = 32;

impl Kind {
    pub fn of(url: &str) -> Option<Self> {
        let after = |scheme: &str| url.strip_prefix(scheme).filter(|rest| !rest.is_empty());
        let is = |schemes: &[&str]| schemes.iter().any(|scheme| after(scheme).is_some());
        if is(&["rtsp://", "rtsps://"]) {
            Some(Self::Rtsp)
        } else if is(&["http://", "https://"]) {
            Some(Self::Http)
        } else if after("file://").is_some_and(|path| path.starts_with('/')) {
            Some(Self::File)
        } else if after("v4l2://").is_some_and(is_device) {
            Some(Self::Device)
        } else {
            after("test:").map(|_| Self::Test)
        }
    }

    pub fn is_live(self) -> bool {
        self != Self::File
    }
}

/// `v4l2src` opens whatever it is given: only what names a camera.
fn is_device(path: &str) -> bool {
    let name = path.strip_prefix("/dev/video").or_else(|| path.strip_prefix("/dev/v4l/by-id/"));
    let name = name.or_else(|| path.strip_prefix("/dev/v4l/by-path/"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Where a source of the network is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub address: SocketAddr,
    /// With the address in place of the name.
    pub url: String,
    /// The name and port, as a server that serves several has to be told.
    pub host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No such name, or no answer.
    Unresolved(String),
    Forbidden(String),
    /// No host in it.
    Garbled,
}

/// Resolves the host of a URL with `//` in it, and checks every address of it. `waits` is called now and then meanwhile.
pub fn locate(url: &str, allow: Allow, waits: &dyn Fn()) -> Result<Place, Refusal> {
    let (scheme, rest) = url.split_once("://").ok_or(Refusal::Garbled)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default_port = match scheme {
        "rtsp" => 554,
        "rtsps" => 322,
        "https" => 443,
        _ => 80,
    };
    let has_port =
        host.rsplit_once(':').is_some_and(|(before, port)| !before.ends_with(':') && port.parse::<u16>().is_ok());
    let has_port = has_port && (!host.starts_with('[') || host.contains("]:"));
    let with_port = if has_port { host.to_owned() } else { format!("{host}:{default_port}") };
    let addresses = resolve(&with_port, waits)?;
    for address in &addresses {
        check(address.ip(), allow).map_err(Refusal::Forbidden)?;
    }
    let address = addresses.first().ok_or_else(|| Refusal::Unresolved("it has no address".to_owned()))?;
    Ok(Place { address: *address, url: format!("{scheme}://{address}{path}"), host: host.to_owned() })
}

/// On a thread of its own: a resolver cannot be told how long to wait.
fn resolve(with_port: &str, waits: &dyn Fn()) -> Result<Vec<SocketAddr>, Refusal> {
    // Literals ask nobody.
    if let Ok(address) = with_port.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let (answer, waiting) = mpsc::channel();
    let name = with_port.to_owned();
    let ask = move || {
        let found = name.to_socket_addrs().map(|found| found.take(ADDRESSES_MAX).collect::<Vec<_>>());
        let _ = answer.send(found);
    };
    let unresolved = |why: String| Refusal::Unresolved(why);
    std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(ask)
        .map_err(|error| unresolved(error.to_string()))?;
    let until = Instant::now() + RESOLVE_WITHIN;
    while Instant::now() < until {
        waits();
        match waiting.recv_timeout(RESOLVE_STEP) {
            Ok(found) => return found.map_err(|error| unresolved(error.to_string())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Err(unresolved(format!("no answer within {RESOLVE_WITHIN:?}")))
}

/// Those of clouds' metadata services: whoever reaches them has the machine's rights.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// `Err` says why not, and what would allow it.
fn check(address: IpAddr, allow: Allow) -> Result<(), String> {
    let address = unwrapped(address);
    let (is_link_local, is_broadcast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.is_broadcast() || v4.octets()[0] == 0),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), false),
    };
    if METADATA.contains(&address) {
        Err(format!("{address} is a metadata service and never a camera; correct the camera's url"))
    } else if address.is_unspecified() || address.is_multicast() || is_broadcast {
        Err(format!("{address} is no machine's address; correct the camera's url"))
    } else if address.is_loopback() && !allow.loopback {
        Err(format!("{address} is this machine; add \"loopback\" to sources.allow if the camera's server runs on it"))
    } else if is_link_local && !allow.link_local {
        Err(format!("{address} is link-local; add \"link_local\" to sources.allow if the camera has no other address"))
    } else {
        Ok(())
    }
}

/// An IPv4 address in an IPv6 one's clothes: mapped, compatible, 6to4 or NAT64.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let parts = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Allow = Allow { loopback: false, link_local: false };
    const ALL: Allow = Allow { loopback: true, link_local: true };

    fn check_is(address: &str, allow: Allow, allowed: bool) {
        let ip = address.parse().expect(address);
        assert_eq!(check(ip, allow).is_ok(), allowed, "{address} with {allow:?}");
    }

    #[test]
    fn a_camera_s_address_is_one_of_a_network() {
        for address in ["192.168.1.20", "10.0.0.1", "203.0.113.9", "2001:db8::7", "fd12:3456::1"] {
            check_is(address, NOTHING, true);
        }
    }

    #[test]
    fn this_machine_and_the_link_are_refused_unless_allowed() {
        let loopback = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"];
        let link = ["169.254.3.4", "fe80::1", "::ffff:169.254.3.4", "2002:a9fe:304::"];
        for address in loopback.iter().chain(&link) {
            check_is(address, NOTHING, false);
            check_is(address, ALL, true);
        }
        check_is("169.254.3.4", Allow { loopback: true, link_local: false }, false);
    }

    #[test]
    fn some_addresses_are_no_camera_s_whatever_is_allowed() {
        let metadata = ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "64:ff9b::a9fe:a9fe"];
        let nobody = ["0.0.0.0", "0.1.2.3", "::", "255.255.255.255", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0"];
        for address in metadata.iter().chain(&nobody) {
            check_is(address, ALL, false);
        }
    }

    #[test]
    fn a_refusal_names_the_way_out() {
        let refusal = |url| locate(url, NOTHING, &|| ()).expect_err("it is refused");
        for url in [
            "rtsp://127.0.0.1:8554/cam",
            "http://localhost/cam",
            "rtsp://[::1]/cam",
            "http://2130706433/",
            "http://0x7f.1/",
        ] {
            let refusal = refusal(url);
            assert!(matches!(&refusal, Refusal::Forbidden(why) if why.contains("sources.allow")), "{url}: {refusal:?}");
        }
        assert!(matches!(refusal("rtsp://169.254.169.254/"), Refusal::Forbidden(_)));
        assert!(matches!(refusal("rtsp://nowhere.invalid/"), Refusal::Unresolved(_)));
    }

    #[test]
    fn what_was_checked_is_what_is_connected_to() {
        let place = |url| locate(url, ALL, &|| ()).expect(url);
        let localhost = place("rtsp://localhost:8554/cam?a=b");
        assert!(localhost.url == "rtsp://127.0.0.1:8554/cam?a=b" || localhost.url == "rtsp://[::1]:8554/cam?a=b");
        assert_eq!(localhost.host, "localhost:8554");
        assert_eq!(place("rtsps://10.0.0.7/cam").url, "rtsps://10.0.0.7:322/cam");
        assert_eq!(place("http://[fd00::7]?x").url, "http://[fd00::7]:80?x");
        assert_eq!(place("https://[fd00::7]:99/x").url, "https://[fd00::7]:99/x");
    }

    #[test]
    fn kinds_are_told_by_schemes() {
        let is = |url, kind| assert_eq!(Kind::of(url), kind, "{url}");
        is("rtsps://cam/x", Some(Kind::Rtsp));
        is("https://cam/x", Some(Kind::Http));
        is("file:///a.mp4", Some(Kind::File));
        is("v4l2:///dev/video0", Some(Kind::Device));
        is("v4l2:///dev/v4l/by-id/usb-cam", Some(Kind::Device));
        is("test:ball", Some(Kind::Test));
        for wrong in
            ["v4l2:///etc/passwd", "v4l2:///dev/video0/../sda", "file://a.mp4", "ftp://cam", "/dev/video0", "test:"]
        {
            is(wrong, None);
        }
    }
}
