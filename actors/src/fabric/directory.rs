//! Directory: the gpu nodes that a relay knows of, and when its edges are told.
//!
//!   gpu nodes ──load, every second──▶ [directory] ──list──▶ [published] ──▶ control streams of edges
//!
//! Pure but for the last step. An entry ends with its node's membership or with its silence.

use protocol::core::GpuNode;
use protocol::{Identity, TenantId, limits};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A node that told nothing for so long is not listed.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Nodes remembered. When full, one that is unknown is not listed until another has gone.
const NODES_MAX: usize = 1024;
/// Models told of one node; the first are kept.
const MODELS_MAX: usize = 16;
/// Between two lists that differ in load alone. With a thousand edges each list is a thousand messages.
const LOAD_AT_MOST_EVERY: Duration = Duration::from_secs(2);

/// What the gpu nodes told last.
#[derive(Default)]
pub struct Directory {
    known: BTreeMap<Identity, Known>,
}

struct Known {
    node: GpuNode,
    heard: Duration,
}

impl Directory {
    /// `from` is the address that its packets come from: where it says none itself, edges dial that.
    pub fn hear(&mut self, now: Duration, mut node: GpuNode, from: IpAddr) {
        if self.known.len() >= NODES_MAX && !self.known.contains_key(&node.node) {
            return;
        }
        if let Some(port) = node.addr.strip_prefix(':') {
            node.addr = match from {
                IpAddr::V4(ip) => format!("{ip}:{port}"),
                IpAddr::V6(ip) => format!("[{ip}]:{port}"),
            };
        }
        node.addr = limits::short_text(&node.addr);
        node.models.truncate(MODELS_MAX);
        node.models.iter_mut().for_each(|model| *model = limits::short_text(model));
        // Not a number compares with nothing; what it is worth is the least.
        node.load = if node.load.is_nan() { 1.0 } else { node.load.clamp(0.0, 1.0) };
        self.known.insert(node.node.clone(), Known { node, heard: now });
    }

    /// Those that are members and were heard of, the best first. The others are forgotten.
    pub fn list(&mut self, now: Duration, members: &[Identity]) -> Vec<GpuNode> {
        let is_there =
            |who: &Identity, known: &Known| members.contains(who) && now.saturating_sub(known.heard) < SILENT_AFTER;
        self.known.retain(|who, known| is_there(who, known));
        let mut list: Vec<GpuNode> = self.known.values().map(|known| known.node.clone()).collect();
        sort(&mut list);
        list
    }
}

/// Ready ones first, then the least loaded, then those where the fewest frames wait, then by name.
pub fn sort(list: &mut [GpuNode]) {
    list.sort_by(|a, b| {
        let by_load = || a.load.total_cmp(&b.load);
        let by_rest = || (a.waiting, &a.node).cmp(&(b.waiting, &b.node));
        b.ready.cmp(&a.ready).then_with(by_load).then_with(by_rest)
    });
}

/// What an edge of this tenant may use: its tenant's gpu nodes and those of the site itself; the best are kept.
pub fn for_edge(list: &[GpuNode], tenant: &TenantId, site: &TenantId) -> Vec<GpuNode> {
    let may_use = |node: &&GpuNode| node.node.tenant == *tenant || node.node.tenant == *site;
    list.iter().filter(may_use).take(limits::DIRECTORY_MAX).cloned().collect()
}

/// The list as edges are told. Cheap to clone.
#[derive(Clone, Default)]
pub struct Published(Arc<Inner>);

#[derive(Default)]
struct Inner {
    list: watch::Sender<Arc<Vec<GpuNode>>>,
    at: Mutex<Option<Duration>>,
}

impl Published {
    pub fn list(&self) -> watch::Receiver<Arc<Vec<GpuNode>>> {
        self.0.list.subscribe()
    }

    /// Who is there is told at once; how busy they are only now and then, and only if it changes whom to choose.
    pub(crate) fn publish(&self, now: Duration, list: Vec<GpuNode>) {
        let mut at = self.0.at.lock().unwrap_or_else(PoisonError::into_inner);
        let told = self.0.list.borrow().clone();
        let is_due = at.is_none_or(|at| now.saturating_sub(at) >= LOAD_AT_MOST_EVERY);
        if are_others(&told, &list) || is_due && matters(&told, &list) {
            *at = Some(now);
            self.0.list.send_replace(Arc::new(list));
        }
    }
}

/// Another set, or another state of one of them.
fn are_others(told: &[GpuNode], now: &[GpuNode]) -> bool {
    let state = |list: &[GpuNode]| -> BTreeMap<Identity, (u64, String, bool, Vec<String>)> {
        let state = |node: &GpuNode| (node.boot.0, node.addr.clone(), node.ready, node.models.clone());
        list.iter().map(|node| (node.node.clone(), state(node))).collect()
    };
    state(told) != state(now)
}

/// Whether somebody who chooses by it could choose otherwise.
fn matters(told: &[GpuNode], now: &[GpuNode]) -> bool {
    let steps = |list: &[GpuNode]| -> BTreeMap<Identity, (u8, u32)> {
        list.iter()
            .map(|node| (node.node.clone(), (load_step(node.load), node.waiting.checked_ilog2().unwrap_or(0) / 2)))
            .collect()
    };
    steps(told) != steps(now)
}

/// Loads are told in fifths: it makes no difference whether one is 31 or 33 % busy.
fn load_step(load: f32) -> u8 {
    (load * 5.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::Epoch;

    fn gpu(name: &str, ready: bool, load: f32, waiting: u32) -> GpuNode {
        let node = format!("main/gpu/{name}").parse().expect("an identity");
        let models = vec!["squares".to_owned()];
        GpuNode { node, boot: Epoch(1), addr: ":7444".to_owned(), ready, models, waiting, load }
    }

    fn here() -> IpAddr {
        "10.0.0.7".parse().expect("an address")
    }

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn names(list: &[GpuNode]) -> Vec<&str> {
        list.iter().map(|node| node.node.name.as_str()).collect()
    }

    #[test]
    fn the_best_stand_first() {
        let mut list =
            [gpu("d", false, 0.0, 0), gpu("c", true, 0.2, 9), gpu("b", true, 0.2, 1), gpu("a", true, 0.9, 0)];
        sort(&mut list);
        assert_eq!(names(&list), ["b", "c", "a", "d"]);
    }

    #[test]
    fn whoever_is_silent_or_no_member_is_not_listed() {
        let mut directory = Directory::default();
        for name in ["a", "b"] {
            directory.hear(s(0.0), gpu(name, true, 0.0, 0), here());
        }
        directory.hear(s(3.0), gpu("a", true, 0.0, 0), here());
        let all: Vec<Identity> = ["a", "b"].map(|name| gpu(name, true, 0.0, 0).node).to_vec();
        assert_eq!(names(&directory.list(s(4.9), &all)), ["a", "b"]);
        assert_eq!(names(&directory.list(s(5.0), &all)), ["a"], "b told nothing for 5 s");
        assert!(directory.list(s(5.1), &all[1..]).is_empty(), "a is no member any more");
        assert!(directory.list(s(5.2), &all).is_empty(), "and has to tell again when it is back");
    }

    #[test]
    fn a_node_without_an_address_of_its_own_is_dialled_where_its_packets_come_from() {
        let mut directory = Directory::default();
        let told = |directory: &mut Directory, node: GpuNode, from: &str| {
            let members = [node.node.clone()];
            directory.hear(s(0.0), node, from.parse().expect("an address"));
            directory.list(s(0.0), &members)[0].addr.clone()
        };
        let plain = gpu("a", true, 0.0, 0);
        assert_eq!(told(&mut directory, plain.clone(), "10.0.0.7"), "10.0.0.7:7444");
        assert_eq!(told(&mut directory, plain.clone(), "fd00::7"), "[fd00::7]:7444");
        let advertised = GpuNode { addr: "engine.example:7444".to_owned(), ..plain };
        assert_eq!(told(&mut directory, advertised, "10.0.0.7"), "engine.example:7444");
    }

    #[test]
    fn an_edge_is_told_of_its_tenants_nodes_and_of_the_sites() {
        let of = |tenant: &str| GpuNode {
            node: format!("{tenant}/gpu/x").parse().expect("an identity"),
            ..gpu("x", true, 0.0, 0)
        };
        let list = [of("acme"), of("main"), of("other")];
        let (acme, main) = ("acme".parse().expect("a name"), "main".parse().expect("a name"));
        let told = for_edge(&list, &acme, &main);
        assert_eq!(told.iter().map(|node| node.node.tenant.as_str()).collect::<Vec<_>>(), ["acme", "main"]);
        assert_eq!(for_edge(&vec![of("main"); 100], &acme, &main).len(), limits::DIRECTORY_MAX);
    }

    /// Publishes these one after another; which of them edges are told.
    fn check(lists: &[(f64, &[GpuNode])], told: &[bool]) {
        let published = Published::default();
        let mut seen = published.list();
        for ((at, list), told) in lists.iter().zip(told) {
            published.publish(s(*at), list.to_vec());
            assert_eq!(seen.has_changed().expect("it is there"), *told, "at {at} s");
            seen.mark_unchanged();
        }
    }

    #[test]
    fn who_is_there_is_told_at_once_and_load_now_and_then() {
        let (idle, busy) = (gpu("a", true, 0.1, 0), gpu("a", true, 0.9, 0));
        check(
            &[
                (0.0, &[]),
                (0.1, std::slice::from_ref(&idle)),
                (0.2, std::slice::from_ref(&busy)),
                (0.3, &[busy.clone(), gpu("b", true, 0.0, 0)]),
                (1.0, &[idle.clone(), gpu("b", true, 0.0, 0)]),
                (2.4, &[idle.clone(), gpu("b", true, 0.0, 0)]),
                (9.0, &[gpu("a", true, 0.15, 1), gpu("b", true, 0.0, 0)]),
                (9.1, &[gpu("b", true, 0.0, 0)]),
                (9.2, &[gpu("b", false, 0.0, 0)]),
            ],
            &[false, true, false, true, false, true, false, true, true],
        );
    }

    proptest! {
        /// However loads move, nobody is told of load alone more often than every two seconds.
        #[test]
        fn load_alone_is_never_chatter(loads in proptest::collection::vec((0.0_f32..1.0, 0_u32..5000), 1..80)) {
            let published = Published::default();
            let mut seen = published.list();
            let mut told = 0_u32;
            for (nth, (load, waiting)) in loads.iter().enumerate() {
                published.publish(s(nth as f64 * 0.5), vec![gpu("a", true, *load, *waiting)]);
                told += u32::from(seen.has_changed().expect("it is there"));
                seen.mark_unchanged();
            }
            prop_assert!(told <= 1 + loads.len() as u32 / 4, "{told} of {}", loads.len());
        }
    }
}
