//! Loss: how many of the last packets never came. A pure core.
//!
//! With one packet in a hundred lost, every tenth picture is damaged: it is recorded and looked at. With a third of
//! them lost, nothing is whole: what a decoder makes of that is no picture of anything, and nobody is to judge it.

use std::collections::VecDeque;

/// Pictures that are looked back on: two seconds at fifteen a second.
const LAST: usize = 30;
/// A greater share of their packets lost, in percent, and the stream is of no use.
const LOST_PERCENT_MAX: u32 = 10;
/// Fewer are chance.
const LOST_MIN: u32 = 4;

#[derive(Debug, Default)]
pub struct Lossy {
    /// Packets that came and that did not, of each picture.
    last: VecDeque<(u32, u32)>,
    sum: (u32, u32),
}

impl Lossy {
    /// Whether the stream is of use after this picture.
    pub fn unit(&mut self, came: u32, lost: u32) -> bool {
        self.last.push_back((came, lost));
        self.sum = (self.sum.0.saturating_add(came), self.sum.1.saturating_add(lost));
        if self.last.len() > LAST
            && let Some((came, lost)) = self.last.pop_front()
        {
            self.sum = (self.sum.0.saturating_sub(came), self.sum.1.saturating_sub(lost));
        }
        let (came, lost) = self.sum;
        let all = u64::from(came) + u64::from(lost);
        lost < LOST_MIN || u64::from(lost) * 100 <= all * u64::from(LOST_PERCENT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thousand pictures of so many packets, how many were of use when each `nth` packet is lost.
    fn of_use(packets: u32, nth: u32) -> usize {
        let mut lossy = Lossy::default();
        let lost = |picture: u32| (0..packets).filter(|n| (picture * packets + n).is_multiple_of(nth)).count() as u32;
        (0..1000).filter(|picture| lossy.unit(packets - lost(*picture), lost(*picture))).count()
    }

    #[test]
    fn a_lossy_stream_is_of_use_and_a_wreck_is_not() {
        assert_eq!([of_use(1, 100), of_use(10, 100), of_use(40, 50), of_use(10, 12)], [1000; 4]);
        assert!([of_use(1, 3), of_use(10, 3), of_use(40, 3)].iter().all(|of_use| *of_use < 12));
    }

    #[test]
    fn a_stream_that_has_recovered_is_of_use_within_two_seconds() {
        let mut lossy = Lossy::default();
        assert_eq!((0..100).filter(|_| lossy.unit(7, 3)).count(), 1);
        let recovered = (0..LAST).position(|_| lossy.unit(10, 0));
        assert!(recovered.is_some_and(|pictures| pictures < LAST), "{recovered:?}");
    }
}
