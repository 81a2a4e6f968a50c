//! Knocking: waits where nobody listened until somebody does.
//!
//! A whole try costs a process that starts, and a pause until the next; a knock costs three packets. So a camera that
//! comes back is opened a moment later, and one that does not costs next to nothing.

use crate::Node;
use crate::address::{self, Kind, Refusal};
use crate::bell::Wake;
use protocol::camera::Source;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Between two knocks.
const EVERY: Duration = Duration::from_millis(200);
/// A host that is up answers at once, also that nobody listens.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Returns when somebody listens, when `source.knock_ms` are over, or when knocking is of no use: what is wrong is then
/// found by opening it. `false`: the session is to end. A gear that is ordered meanwhile is the one to begin in.
pub fn until_answered(source: &mut Source, node: &Node, wakes: &Receiver<Wake>) -> bool {
    let until = Instant::now() + Duration::from_millis(source.knock_ms.into());
    while Instant::now() < until && !answers(source, node) {
        match wakes.recv_timeout(EVERY) {
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Wake::Gear { gear, .. }) => source.gear = gear,
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
        (node.gets_on)();
    }
    true
}

fn answers(source: &Source, node: &Node) -> bool {
    if !matches!(Kind::of(&source.url), Some(Kind::Rtsp | Kind::Http)) {
        return true;
    }
    match address::locate(&source.url, source.allow, &*node.gets_on) {
        Ok(place) => TcpStream::connect_timeout(&place.address, ANSWER_WITHIN).is_ok(),
        Err(Refusal::Unresolved(_)) => false,
        Err(Refusal::Forbidden(_) | Refusal::Garbled) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bell::bell;
    use protocol::camera::{Allow, Gear};
    use std::net::TcpListener;
    use std::sync::Arc;

    const FOR_EVER_MS: u32 = 600_000;

    fn source(url: String, knock_ms: u32) -> Source {
        Source { knock_ms, allow: Allow { loopback: true, link_local: false }, ..Source::new(url) }
    }

    fn node() -> Node {
        Node { tell: Arc::new(|_| Ok(())), gets_on: Arc::new(|| {}) }
    }

    /// Where nobody listens, for now.
    fn closed() -> (std::net::SocketAddr, String) {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        (free, format!("rtsp://{free}/cam"))
    }

    #[test]
    fn who_begins_to_listen_is_heard_and_the_gear_ordered_meanwhile_is_kept() {
        let (address, url) = closed();
        let (bell, wakes) = bell();
        bell.ring(Wake::Gear { gear: Gear::Passthrough, rewind: false });
        let late = std::thread::spawn(move || {
            std::thread::sleep(EVERY);
            TcpListener::bind(address)
        });
        let mut source = source(url, FOR_EVER_MS);
        assert!(until_answered(&mut source, &node(), &wakes));
        assert!(late.join().expect("no panic").is_ok());
        assert_eq!(source.gear, Gear::Passthrough);
    }

    #[test]
    fn a_node_that_stops_is_heard() {
        let (_, url) = closed();
        let (bell, wakes) = bell();
        bell.ring(Wake::Stop);
        assert!(!until_answered(&mut source(url, FOR_EVER_MS), &node(), &wakes));
    }

    #[test]
    fn what_is_not_to_be_talked_to_is_not_waited_for() {
        let (_bell, wakes) = bell();
        let mut forbidden = Source { knock_ms: FOR_EVER_MS, ..Source::new("rtsp://127.0.0.1:9/cam") };
        assert!(until_answered(&mut forbidden, &node(), &wakes));
        assert!(until_answered(&mut source("file:///nowhere.mp4".to_owned(), FOR_EVER_MS), &node(), &wakes));
    }
}
