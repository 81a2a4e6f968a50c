//! A relay's configuration.

use crate::Kind;
use crate::common::{self, HOST_PORT, HostPort, Listen, Node, Tls, UPSTREAMS_MAX};
use crate::env::Vars;
use crate::fault::Faults;
use crate::reader::{Reader, Section};
use crate::supervision::{self, Supervision};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    pub node: Node,
    pub tls: Tls,
    pub listen: Listen,
    pub enrol: Enrol,
    pub link: RelayLink,
    pub supervision: Supervision,
}

/// `[enrol]`
#[derive(Debug, Clone, PartialEq)]
pub struct Enrol {
    /// Where the authority's certificate and key are. `None`: this relay issues no certificates.
    pub ca_dir: Option<PathBuf>,
    /// For how long a certificate is good that it issues.
    pub certificate: Duration,
}

/// A stolen certificate that nobody revoked is good for no longer; each node asks twice in this time.
const CERTIFICATE_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// Less is lost to a restart of the relay; more is what `watchtree ca issue` is for.
const CERTIFICATE_S: RangeInclusive<u64> = 20..=90 * 24 * 3600;

/// `[link]`: whom the relay dials.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RelayLink {
    /// Other relays of the site; each gets a link of its own. Both may dial each other.
    pub relays: Vec<HostPort>,
}

/// Where relays listen unless told otherwise.
const PORT_DEFAULT: u16 = 7443;

/// As [`crate::relay`], from text: relative paths start at `dir`, variables come from `vars`.
pub fn relay_from(text: &str, dir: &Path, vars: &Vars) -> Result<Relay, Faults> {
    let reader = Reader::new(text, "", dir, Some(Kind::Relay), vars)?;
    let relay = read(&reader);
    reader.finish(relay)
}

pub(crate) fn read(reader: &Reader) -> Option<Relay> {
    let mut root = reader.root();
    let node = common::node(&mut root, Kind::Relay);
    let tls = common::tls(&mut root);
    let listen = common::listen(&mut root, PORT_DEFAULT);
    let enrol = enrol(root.section("enrol"));
    let link = RelayLink { relays: root.section("link").some("relays", UPSTREAMS_MAX, HOST_PORT).unwrap_or_default() };
    let supervision = supervision::read(&mut root);
    Some(Relay { node: node?, tls: tls?, listen, enrol, link, supervision })
}

fn enrol(mut s: Section) -> Enrol {
    let ca_dir = s.path("ca_dir", "name the directory that `watchtree ca init` filled, or remove it");
    Enrol { ca_dir, certificate: s.seconds("certificate_s", CERTIFICATE_DEFAULT, CERTIFICATE_S) }
}
