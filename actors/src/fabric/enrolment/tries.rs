//! Tries: how often somebody may fail, or ask, in a minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
/// Of one address or one node in a minute. When full, the next is told to wait.
const TRIES_MAX: u32 = 10;
/// Who is remembered at once. When full, whoever began longest ago is forgotten.
const REMEMBERED_MAX: usize = 1024;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Tries(Arc<Mutex<BTreeMap<String, (Instant, u32)>>>);

impl Tries {
    pub fn are_left(&self, of: &str, now: Instant) -> bool {
        let tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tries.get(of).is_none_or(|(began, count)| now.duration_since(*began) >= WINDOW || *count < TRIES_MAX)
    }

    pub fn count(&self, of: &str, now: Instant) {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = tries.entry(of.to_owned()).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
        if tries.len() > REMEMBERED_MAX {
            let oldest = tries.iter().min_by_key(|(_, (began, _))| *began).map(|(of, _)| of.clone());
            oldest.map(|oldest| tries.remove(&oldest));
        }
    }
}

/// Who has one address of an IPv6 network has them all.
pub(super) fn network(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_tries_are_left_in_a_minute_and_others_have_their_own() {
        let (tries, now) = (Tries::default(), Instant::now());
        for _ in 0..TRIES_MAX {
            assert!(tries.are_left("a", now));
            tries.count("a", now);
        }
        assert!(!tries.are_left("a", now + WINDOW / 2));
        assert!(tries.are_left("b", now));
        assert!(tries.are_left("a", now + WINDOW));
        tries.count("a", now + WINDOW);
        assert!(tries.are_left("a", now + WINDOW));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (tries, now) = (Tries::default(), Instant::now());
        for nth in 0..2 * REMEMBERED_MAX {
            tries.count(&nth.to_string(), now + Duration::from_millis(nth as u64));
        }
        assert_eq!(tries.0.lock().expect("no panic").len(), REMEMBERED_MAX);
    }

    #[test]
    fn an_ipv6_network_is_one() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
