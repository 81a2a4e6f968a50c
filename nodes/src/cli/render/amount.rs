//! Amounts in few characters: `84 MiB`, `3.2`, `12%`, `7/1024`.

use protocol::admin::ActorStatus;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

pub(in super::super) fn bytes(bytes: u64) -> String {
    match bytes {
        b if b < MIB => format!("{} KiB", b / KIB),
        b if b < 10 * GIB => format!("{} MiB", b / MIB),
        b => format!("{} GiB", b / GIB),
    }
}

/// A tenth below ten; beyond, whole numbers and thousands.
pub(in super::super) fn per_second(rate: f64) -> String {
    match rate {
        r if r < 9.95 => format!("{r:.1}"),
        r if r < 9_999.5 => format!("{r:.0}"),
        r => format!("{:.0}k", r / 1000.0),
    }
}

pub(in super::super) fn percent(percent: f64) -> String {
    format!("{percent:.0}%")
}

/// What waits in its mailbox and how much may: `7/1024`.
pub(in super::super) fn mailbox(status: &ActorStatus) -> String {
    match (status.waiting, status.waiting_max) {
        // A service has one place, for orders: worth a look only while it is taken.
        (Some(0), Some(1)) => String::new(),
        (Some(waiting), Some(max)) => format!("{waiting}/{max}"),
        (Some(waiting), None) => waiting.to_string(),
        (None, _) => String::new(),
    }
}

/// From here on a mailbox is worth a look: senders will soon wait or be refused.
pub(in super::super) fn mailbox_is_filling(status: &ActorStatus) -> bool {
    let (Some(waiting), Some(max)) = (status.waiting, status.waiting_max) else { return false };
    max > 0 && u64::from(waiting) * 2 >= u64::from(max)
}

#[cfg(test)]
mod tests {
    use super::super::samples::actor;
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (amount, expected) in [(0, "0 KiB"), (900 * KIB, "900 KiB"), (84 * MIB, "84 MiB"), (40 * GIB, "40 GiB")] {
            assert_eq!(bytes(amount), expected);
        }
        for (rate, expected) in [(0.0, "0.0"), (3.24, "3.2"), (9.96, "10"), (1234.0, "1234"), (12_345.0, "12k")] {
            assert_eq!(per_second(rate), expected);
        }
        assert_eq!(percent(99.6), "100%");
    }

    #[test]
    fn a_mailbox_is_told_with_its_limit_and_warned_about_from_half_on() {
        let mut outbox = actor("yard/outbox");
        assert_eq!((mailbox(&outbox).as_str(), mailbox_is_filling(&outbox)), ("", false));
        (outbox.waiting, outbox.waiting_max) = (Some(511), Some(1024));
        assert_eq!((mailbox(&outbox).as_str(), mailbox_is_filling(&outbox)), ("511/1024", false));
        let service = protocol::admin::ActorStatus { waiting: Some(0), waiting_max: Some(1), ..actor("yard/http") };
        assert_eq!(mailbox(&service), "");
        outbox.waiting = Some(512);
        assert!(mailbox_is_filling(&outbox));
    }
}
