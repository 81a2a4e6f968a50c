//! A relay's configuration.

use crate::Kind;
use crate::common::{self, HOST_PORT, HostPort, Listen, Node, Tls, UPSTREAMS_MAX};
use crate::env::Vars;
use crate::fault::Faults;
use crate::reader::Reader;
use crate::supervision::{self, Supervision};
use std::path::Path;

#[derive(Debug, Clone, PartialEq)]
pub struct Relay {
    pub node: Node,
    pub tls: Tls,
    pub listen: Listen,
    pub link: RelayLink,
    pub supervision: Supervision,
}

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
    let link = RelayLink { relays: root.section("link").some("relays", UPSTREAMS_MAX, HOST_PORT).unwrap_or_default() };
    let supervision = supervision::read(&mut root);
    Some(Relay { node: node?, tls: tls?, listen, link, supervision })
}
