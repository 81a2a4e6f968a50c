//! A relay's configuration.

use crate::Kind;
use crate::common::{self, Listen, Node, Tls};
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
    pub supervision: Supervision,
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
    let supervision = supervision::read(&mut root);
    Some(Relay { node: node?, tls: tls?, listen, supervision })
}
