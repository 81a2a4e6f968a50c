//! The role table: who may open, say, send, ask and get what, on which node. What is not listed is denied.
//!
//!   a message ──Listed::row──▶ its row ──may(here, peer)──▶ served, or Denied with the reason
//!
//! A variant without a row does not compile: the match from a message to its row has no other arm. What a node answers to
//! one call (`Reply`, `Answer`) has no row: it goes to whoever asked, over the call's own stream.

mod table;

pub use table::{Listed, Route, rows};

use crate::Role;
use crate::link::VIEWERS_LOOK;
use std::fmt;

/// What kind of thing a peer does; the label `what` of its refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plane {
    Stream,
    Up,
    Down,
    EventsUp,
    EventsDown,
    AskerUp,
    AskerDown,
    Clip,
    Join,
    Renew,
    Request,
    Datagram,
    Tell,
    Ask,
    Http,
}

impl Plane {
    pub const ALL: [Self; 15] = [
        Self::Stream,
        Self::Up,
        Self::Down,
        Self::EventsUp,
        Self::EventsDown,
        Self::AskerUp,
        Self::AskerDown,
        Self::Clip,
        Self::Join,
        Self::Renew,
        Self::Request,
        Self::Datagram,
        Self::Tell,
        Self::Ask,
        Self::Http,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Up => "up",
            Self::Down => "down",
            Self::EventsUp => "events-up",
            Self::EventsDown => "events-down",
            Self::AskerUp => "asker-up",
            Self::AskerDown => "asker-down",
            Self::Clip => "clip",
            Self::Join => "join",
            Self::Renew => "renew",
            Self::Request => "request",
            Self::Datagram => "datagram",
            Self::Tell => "tell",
            Self::Ask => "ask",
            Self::Http => "http",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Stream => "open the stream",
            Self::Request => "ask for",
            Self::Datagram => "send the datagram",
            Self::Http => "get",
            _ => "say",
        }
    }
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whom a node has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Whoever is on this machine, at the HTTP port on loopback.
    Local,
    /// Who shows no certificate: a box that joins.
    Stranger,
    Edge,
    Relay,
    Gpu,
    Operator,
    Viewer,
}

impl Who {
    pub const ALL: [Self; 7] =
        [Self::Local, Self::Stranger, Self::Edge, Self::Relay, Self::Gpu, Self::Operator, Self::Viewer];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Stranger => "stranger",
            Self::Edge => "edge",
            Self::Relay => "relay",
            Self::Gpu => "gpu",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

impl From<Role> for Who {
    fn from(role: Role) -> Self {
        match role {
            Role::Edge => Self::Edge,
            Role::Relay => Self::Relay,
            Role::Gpu => Self::Gpu,
            Role::Operator => Self::Operator,
            Role::Viewer => Self::Viewer,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that a peer may do, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub plane: Plane,
    /// Unique within its plane.
    pub name: &'static str,
    pub grants: &'static [Grant],
}

/// On a node of this role, for these peers.
#[derive(Debug, PartialEq, Eq)]
pub struct Grant {
    pub here: Role,
    pub peers: &'static [Who],
}

impl Row {
    /// Who may, on a node of role `here`; nobody where it is not served.
    pub fn peers(&self, here: Role) -> &'static [Who] {
        self.grants.iter().find(|grant| grant.here == here).map_or(&[], |grant| grant.peers)
    }

    /// The roles of the nodes that serve it to anybody.
    pub fn served_on(&self) -> impl Iterator<Item = Role> {
        self.grants.iter().map(|grant| grant.here)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.plane, self.name)
    }
}

/// Whether the table lists it.
pub fn may(here: Role, peer: impl Into<Who>, row: &Row) -> bool {
    row.peers(here).contains(&peer.into())
}

/// Whether the table lists it, or why not.
pub fn check(here: Role, peer: impl Into<Who>, row: &'static Row) -> Result<(), Denied> {
    let peer = peer.into();
    if may(here, peer, row) { Ok(()) } else { Err(Denied { here, peer, row }) }
}

/// What somebody may not do. As text it names the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub here: Role,
    pub peer: Who,
    pub row: &'static Row,
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { here, peer, row } = self;
        let (verb, name, may) = (row.plane.verb(), row.name, row.peers(*here));
        if self.is_a_viewers_act() {
            return write!(f, "the role {peer} may not {verb} {name}: {VIEWERS_LOOK}");
        }
        if may.is_empty() {
            let elsewhere = listed(row.served_on().map(Role::as_str));
            return write!(f, "a node of role {here} serves nobody {row}; a node of role {elsewhere} does");
        }
        let may = listed(may.iter().map(|who| who.as_str()));
        write!(f, "the role {peer} may not {verb} {name} on a node of role {here}; that is for the role {may}")
    }
}

impl Denied {
    /// A person looks where he would have to steer.
    fn is_a_viewers_act(&self) -> bool {
        self.peer == Who::Viewer && self.row.peers(self.here).contains(&Who::Operator)
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Request;
    use crate::link::Open;
    use std::collections::BTreeSet;

    #[test]
    fn each_row_has_a_name_of_its_own_and_each_node_one_grant_in_it() {
        let mut names = BTreeSet::new();
        for row in rows() {
            assert!(names.insert(row.to_string()), "{row} is there twice");
            let nodes: BTreeSet<Role> = row.served_on().collect();
            assert_eq!(nodes.len(), row.grants.len(), "{row}");
            assert!(!row.grants.is_empty(), "{row} is served nowhere: remove what nobody may say");
            assert!(row.grants.iter().all(|grant| !grant.peers.is_empty()), "{row}");
        }
    }

    #[test]
    fn each_plane_has_rows() {
        let planes: BTreeSet<Plane> = rows().map(|row| row.plane).collect();
        assert!(planes.into_iter().eq(Plane::ALL), "one is left over");
    }

    #[test]
    fn a_denial_says_who_may_and_where() {
        let told = |here, peer: Who, row| check(here, peer, row).expect_err("denied").to_string();
        let control = Open::Control.row();
        let wanted = "the role viewer may not open the stream control on a node of role gpu; that is for the role edge";
        assert_eq!(told(Role::Gpu, Who::Viewer, control), wanted);
        let wanted = "a node of role gpu serves nobody stream events; a node of role relay does";
        assert_eq!(told(Role::Gpu, Who::Edge, Open::Events.row()), wanted);
        let steer = Request::Steer { path: String::new(), act: crate::Act::Park }.row();
        assert!(told(Role::Relay, Who::Viewer, steer).ends_with(VIEWERS_LOOK));
    }
}
