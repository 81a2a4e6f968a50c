//! A plan of a site: which nodes, with which configuration. Started, it is a [`Cluster`].
//!
//!   Plan::new(SEED).relay("hub").gpu("engine", &["squares"]).edge("yard").camera("yard", "front-door", url).start()

use super::node::touch;
use super::{Cluster, ImpairedLink, Node, Place, ports, programs, witness};
use crate::impairment::{Conditions, Proxy};
use protocol::{Identity, Role, TenantId, ca};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use toml::{Table, Value};

/// No test and no demo runs longer.
const CERTIFICATES_VALID: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Plan {
    seed: u64,
    place: Place,
    nodes: Vec<Planned>,
    links: Vec<ImpairedLink>,
}

struct Planned {
    role: Role,
    name: String,
    http: SocketAddr,
    quic_port: Option<u16>,
    config: Table,
    environment: Vec<(String, String)>,
    /// Started by the test itself, when it is time.
    later: bool,
}

impl Plan {
    /// In a directory of its own, which goes with the cluster. `WATCHTREE_SEED` wins over `seed`.
    pub fn new(seed: u64) -> Self {
        let named = std::env::var("WATCHTREE_SEED").ok().and_then(|text| text.parse().ok());
        let dir = TempDir::with_prefix("watchtree-").expect("a temp dir can be made");
        Self::at(named.unwrap_or(seed), Place::Temp(dir))
    }

    /// In a directory that the caller removes.
    pub fn in_dir(seed: u64, dir: &Path) -> Self {
        Self::at(seed, Place::Given(dir.to_owned()))
    }

    fn at(seed: u64, place: Place) -> Self {
        ca::init(&place.path().join("ca"), "a throw-away site").expect("a CA fits into an empty directory");
        let plan = Self { seed, place, nodes: Vec::new(), links: Vec::new() };
        plan.certificate("ca", "operator", Role::Operator);
        plan
    }

    pub fn dir(&self) -> &Path {
        self.place.path()
    }

    /// Issues by the CA in the directory `ca`, and returns the paths of certificate and key.
    pub fn certificate(&self, ca: &str, name: &str, role: Role) -> (PathBuf, PathBuf) {
        let who = Identity { tenant: TenantId::default(), role, name: name.parse().expect("a test's names are right") };
        let dir = self.dir().join(format!("tls-{ca}-{role}"));
        let issued = ca::issue(&self.dir().join(ca), &dir, &who, CERTIFICATES_VALID).expect("the CA is there");
        (issued.cert, issued.key)
    }

    pub fn relay(self, name: &str) -> Self {
        self.add(Role::Relay, name, true)
    }

    /// `models`: names of specs in config/models.
    pub fn gpu(self, name: &str, models: &[&str]) -> Self {
        let mut plan = self.add(Role::Gpu, name, true);
        if let Some(relay) = plan.address_of(Role::Relay) {
            plan = plan.set(name, "link.relay", relay);
        }
        let spec = |model: &&str| programs::project().join(format!("config/models/{model}.toml")).display().to_string();
        let entry = |model| Value::Table(Table::from_iter([("spec".to_owned(), Value::from(spec(model)))]));
        plan.set(name, "models", models.iter().map(entry).collect::<Vec<_>>())
    }

    /// Dials the relay and the gpu node that were planned before it.
    pub fn edge(self, name: &str) -> Self {
        let mut plan = self.add(Role::Edge, name, false).set(name, "node.log_level", witness::LOG_LEVEL);
        // Where a site of this harness has its cameras.
        plan = plan.set(name, "sources.allow", vec!["loopback"]);
        for (role, key) in [(Role::Relay, "link.relay"), (Role::Gpu, "link.gpu")] {
            if let Some(address) = plan.address_of(role) {
                plan = plan.set(name, key, address);
            }
        }
        plan
    }

    pub fn camera(self, edge: &str, id: &str, url: &str) -> Self {
        self.camera_with(edge, id, url, "")
    }

    /// With more of its TOML: `record = "all"`, `transport = "udp"`, `zones = [..]`.
    pub fn camera_with(mut self, edge: &str, id: &str, url: &str, more: &str) -> Self {
        let mut camera: Table = more.parse().unwrap_or_else(|e| panic!("camera {id}: {e}"));
        camera.extend([("id".to_owned(), Value::from(id)), ("url".to_owned(), Value::from(url))]);
        let cameras = self.planned(edge).config.entry("cameras").or_insert_with(|| Value::Array(Vec::new()));
        cameras.as_array_mut().expect("nobody sets cameras to anything else").push(Value::Table(camera));
        self
    }

    /// Sets a key of a node's configuration: `track.update_every_ms`, `cameras.0.model`.
    pub fn set(mut self, node: &str, key: &str, value: impl Into<Value>) -> Self {
        let mut root = Value::Table(std::mem::take(&mut self.planned(node).config));
        put(&mut root, key, value.into());
        if let Value::Table(table) = root {
            self.planned(node).config = table;
        }
        self
    }

    /// Puts a bad network on a node's link: `key` names the address that it dials, which must have been set, as
    /// `link.relay`. [`Cluster::link`] changes it at run time.
    pub fn impaired(mut self, node: &str, key: &str, conditions: impl Into<Conditions>) -> Self {
        let config = &mut self.planned(node).config;
        let dialled = get(config, key).unwrap_or_else(|| panic!("{node} has no address at {key}"));
        let upstream = dialled.parse().unwrap_or_else(|e| panic!("{key} of {node} is {dialled}: {e}"));
        // Each link has a seed of its own, so that links have nothing in common.
        let seed = self.seed.wrapping_add(self.links.len() as u64);
        let proxy = Proxy::start(upstream, conditions, seed).expect("loopback has a free port");
        let addr = proxy.addr().to_string();
        self.links.push(ImpairedLink { node: node.to_owned(), key: key.to_owned(), proxy });
        self.set(node, key, addr)
    }

    pub fn environment(mut self, node: &str, name: &str, value: &str) -> Self {
        self.planned(node).environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a node for later: `Node::start` starts it.
    pub fn later(mut self, node: &str) -> Self {
        self.planned(node).later = true;
        self
    }

    /// Writes the files and starts the processes; [`Cluster::ready`] waits until they are of use.
    pub fn start(self) -> Cluster {
        let Self { seed, place, nodes, links } = self;
        // A relay alone needs no port, no camera and nobody else's program.
        let relays_alone = nodes.iter().all(|node| node.role == Role::Relay);
        let fresh = if relays_alone { programs::check_fresh_of(&["watchtree-relay"]) } else { programs::check_fresh() };
        if let Err(stale) = fresh {
            panic!("{stale}");
        }
        let now: Vec<String> = nodes.iter().filter(|node| !node.later).map(|node| node.name.clone()).collect();
        let nodes = nodes.into_iter().map(|planned| planned.write(place.path())).collect();
        let mut cluster = Cluster::new(seed, nodes, links, place);
        for name in now {
            cluster.node_mut(&name).start();
        }
        cluster
    }

    fn add(mut self, role: Role, name: &str, listens: bool) -> Self {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let quic_port = listens.then(ports::free);
        let (cert, key) = self.certificate("ca", name, role);
        let data_dir = self.dir().join(name).join("data");
        let ca = self.dir().join("ca/ca.pem");
        self.nodes.push(Planned {
            role,
            name: name.to_owned(),
            http,
            quic_port,
            config: Table::new(),
            environment: Vec::new(),
            later: false,
        });
        let plan = self
            .set(name, "node.role", role.as_str())
            .set(name, "node.data_dir", data_dir.display().to_string())
            .set(name, "node.http", http.to_string())
            .set(name, "node.log", "json")
            .set(name, "tls.ca", ca.display().to_string())
            .set(name, "tls.cert", cert.display().to_string())
            .set(name, "tls.key", key.display().to_string());
        match quic_port {
            Some(port) => plan.set(name, "listen.quic", format!("127.0.0.1:{port}")),
            None => plan,
        }
    }

    /// Where a node that was planned listens.
    pub fn address(&self, name: &str) -> String {
        let node =
            self.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node is called {name}"));
        format!("127.0.0.1:{}", node.quic_port.unwrap_or_else(|| panic!("{name} only dials")))
    }

    fn planned(&mut self, name: &str) -> &mut Planned {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }

    fn address_of(&self, role: Role) -> Option<String> {
        let node = self.nodes.iter().find(|node| node.role == role)?;
        Some(format!("127.0.0.1:{}", node.quic_port?))
    }
}

impl Planned {
    fn write(self, root: &Path) -> Node {
        let dir = root.join(&self.name);
        std::fs::create_dir_all(&dir).expect("the site's directory is ours");
        let (config, log) = (dir.join("node.toml"), dir.join("log"));
        let text = toml::to_string(&self.config).expect("tables of plain values");
        std::fs::write(&config, text).and_then(|()| touch(&log)).expect("the site's directory is ours");
        let Self { role, name, http, quic_port, environment, .. } = self;
        Node { role, name, http, quic_port, config, log, environment, child: None }
    }
}

/// The text that `key` names.
fn get<'a>(root: &'a Table, key: &str) -> Option<&'a str> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let below = |value: &'a Value, level: &str| match value {
        Value::Array(items) => items.get(level.parse::<usize>().ok()?),
        other => other.get(level),
    };
    let found = rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(root.get(first)?, below)?;
    found.as_str()
}

/// Sets what `key` names below `root`, and makes tables on the way.
fn put(root: &mut Value, key: &str, value: Value) {
    let mut slot = root;
    for level in key.split('.') {
        slot = match slot {
            Value::Array(items) => &mut items[level.parse::<usize>().expect("a list's item has a number")],
            Value::Table(table) => table.entry(level).or_insert_with(|| Value::Table(Table::new())),
            other => panic!("{key}: {other} has nothing below it"),
        };
    }
    *slot = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_place_below_tables_and_lists() {
        let mut root: Value = Value::Table("cameras = [{ id = \"a\" }]".parse().expect("TOML"));
        put(&mut root, "cameras.0.model", "squares".into());
        put(&mut root, "track.update_every_ms", 200.into());
        assert_eq!(root["cameras"][0]["model"].as_str(), Some("squares"));
        assert_eq!(root["track"]["update_every_ms"].as_integer(), Some(200));
        let root = root.as_table().expect("it is one");
        assert_eq!(get(root, "cameras.0.model"), Some("squares"));
        assert_eq!((get(root, "cameras.1.model"), get(root, "link.relay")), (None, None));
    }
}
