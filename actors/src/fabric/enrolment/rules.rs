//! Rules: what becomes of a token that is presented. No actor, no file, no clock.

use protocol::core::Revocation;
use protocol::enrol::Refusal;
use protocol::{Identity, Role, Timestamp};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// A token as the relay remembers it: without what proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Issued {
    pub who: Identity,
    /// Of its whole text.
    pub sha256: [u8; 32],
    pub made: Timestamp,
    pub until: Timestamp,
    pub by: Identity,
    pub used: Option<Used>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Used {
    pub at: Timestamp,
    /// Of the public key it was used with: the same box may ask again for an answer that was lost.
    pub key_sha256: [u8; 32],
}

/// What a box presents.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    /// Of the whole text of its token.
    pub sha256: [u8; 32],
    /// What kind of node it is.
    pub role: Role,
    pub key_sha256: [u8; 32],
    pub now: Timestamp,
}

/// What is to be done for a token that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    First(Used),
    /// The same box once more.
    Again,
}

/// Nothing is told of a token to whoever does not have all of it.
pub(super) fn judge(
    issued: Option<&Issued>,
    presented: &Presented,
    revoked: Option<&Revocation>,
) -> Result<Verdict, Refusal> {
    let Presented { role, key_sha256, now, .. } = *presented;
    let issued = issued.filter(|issued| same(&issued.sha256, &presented.sha256)).ok_or(Refusal::Tampered)?;
    if issued.who.role != role {
        return Err(Refusal::WrongRole { token: issued.who.role, asked: role });
    }
    if revoked.is_some_and(|revocation| issued.made <= revocation.at) {
        return Err(Refusal::Revoked(issued.who.clone()));
    }
    match issued.used {
        Some(used) if used.key_sha256 != key_sha256 || now > issued.until => Err(Refusal::Used(used.at)),
        Some(_) => Ok(Verdict::Again),
        None if now > issued.until => Err(Refusal::Expired(issued.until)),
        None => Ok(Verdict::First(Used { at: now, key_sha256 })),
    }
}

/// Takes as long wherever the two differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    black_box(one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(seconds))
    }

    /// Made at 100 s, good for an hour.
    fn issued() -> Issued {
        let (who, by) = ("main/edge/yard", "main/operator/ada");
        let (who, by) = (who.parse().expect("an identity"), by.parse().expect("an identity"));
        Issued { who, sha256: [7; 32], made: at(100), until: at(100).plus(HOUR), by, used: None }
    }

    fn presented(now_s: u64) -> Presented {
        Presented { sha256: [7; 32], role: Role::Edge, key_sha256: [1; 32], now: at(now_s) }
    }

    fn used(issued: Issued, at_s: u64) -> Issued {
        Issued { used: Some(Used { at: at(at_s), key_sha256: [1; 32] }), ..issued }
    }

    #[test]
    fn a_token_is_good_once() {
        let verdict = judge(Some(&issued()), &presented(200), None);
        assert_eq!(verdict, Ok(Verdict::First(Used { at: at(200), key_sha256: [1; 32] })));
        let another = Presented { key_sha256: [2; 32], ..presented(300) };
        assert_eq!(judge(Some(&used(issued(), 200)), &another, None), Err(Refusal::Used(at(200))));
    }

    #[test]
    fn the_same_box_may_ask_again_for_as_long_as_its_token_is_good() {
        let used = used(issued(), 200);
        assert_eq!(judge(Some(&used), &presented(3700), None), Ok(Verdict::Again));
        assert_eq!(judge(Some(&used), &presented(3701), None), Err(Refusal::Used(at(200))));
    }

    #[test]
    fn a_token_ends() {
        assert!(judge(Some(&issued()), &presented(3700), None).is_ok());
        assert_eq!(judge(Some(&issued()), &presented(3701), None), Err(Refusal::Expired(at(3700))));
    }

    #[test]
    fn who_does_not_have_all_of_a_token_learns_nothing_of_it() {
        let mut wrong = Presented { role: Role::Gpu, ..presented(99_999) };
        wrong.sha256[31] ^= 1;
        assert_eq!(judge(Some(&used(issued(), 200)), &wrong, None), Err(Refusal::Tampered));
        assert_eq!(judge(None, &wrong, None), Err(Refusal::Tampered));
    }

    #[test]
    fn a_token_is_for_nodes_of_one_role_and_is_not_spent_on_another() {
        let gpu = Presented { role: Role::Gpu, ..presented(200) };
        let refused = Err(Refusal::WrongRole { token: Role::Edge, asked: Role::Gpu });
        assert_eq!(judge(Some(&issued()), &gpu, None), refused);
    }

    #[test]
    fn tokens_that_a_revoked_name_had_are_void_and_a_new_one_is_good() {
        let by = "main/operator/ada".parse().expect("an identity");
        let revoked = |at_s| Revocation { who: issued().who, at: at(at_s), by: std::clone::Clone::clone(&by) };
        let by_then: fn(Result<Verdict, Refusal>) -> bool = |verdict| matches!(verdict, Err(Refusal::Revoked(_)));
        assert!(by_then(judge(Some(&issued()), &presented(300), Some(&revoked(100)))));
        assert!(by_then(judge(Some(&used(issued(), 200)), &presented(300), Some(&revoked(250)))));
        assert!(judge(Some(&issued()), &presented(300), Some(&revoked(99))).is_ok());
    }

    #[test]
    fn hashes_are_the_same_or_not() {
        assert!(same(&[3; 32], &[3; 32]));
        for place in 0..32 {
            let mut other = [3; 32];
            other[place] ^= 0x80;
            assert!(!same(&[3; 32], &other), "byte {place}");
        }
    }
}
