//! The fabric's file: tokens that were made, and who is revoked. No actor, no clock.
//!
//!   tokens       token id  → Issued       a hash of it, whose it is, until when, and with which key it was used
//!   revocations  identity  → Revocation   the latest of each

use super::rules::{Issued, Presented, Verdict, judge};
use crate::events::disk::{self, FileError};
use protocol::codec::{decode, encode};
use protocol::core::Revocation;
use protocol::enrol::{Refusal, TOKEN_ID_BYTES};
use protocol::{Identity, NodeName, TenantId, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use supervision::Failure;

type TokenId = [u8; TOKEN_ID_BYTES];

const TOKENS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tokens");
const REVOCATIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("revocations");

/// Tokens remembered, used ones included. When full, no new one is made until some are forgotten.
const TOKENS_MAX: u64 = 10_000;
/// For so long after its end a token is remembered: whoever brings it is told that it was used, or is too old.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Names that are revoked. When full, the next revocation is refused: a site with so many makes a new authority.
const REVOCATIONS_MAX: u64 = 100_000;
/// Two identities, two hashes and some times.
const RECORD_BYTES_MAX: usize = 1024;

pub(super) struct FabricFile(Database);

impl FabricFile {
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let db = disk::open(path, |write| {
            write.open_table(TOKENS)?;
            write.open_table(REVOCATIONS)?;
            Ok(())
        })?;
        // Tables of other types or names are found here and not when somebody must be refused.
        let tables = db.begin_read().map_err(FileError::from).and_then(|read| {
            read.open_table(TOKENS)?;
            read.open_table(REVOCATIONS)?;
            Ok(())
        });
        tables.map_err(|error| error.refusal(path))?;
        Ok(Self(db))
    }

    /// Who is revoked. One record that cannot be read fails all: whom it means would be let in.
    pub fn revocations(&self) -> Result<Vec<Revocation>, FileError> {
        let table = self.0.begin_read()?.open_table(REVOCATIONS)?;
        table.iter()?.map(|row| Ok(decode::<_, RECORD_BYTES_MAX>(row?.1.value())?)).collect()
    }

    /// On disk when this returns. `Ok(Err)` says why it is not made.
    pub fn add(&self, id: TokenId, issued: &Issued) -> Result<Result<(), String>, FileError> {
        let write = disk::begin(&self.0, false)?;
        let made = {
            let mut tokens = write.open_table(TOKENS)?;
            let forgotten = |bytes: &[u8]| {
                decode::<Issued, RECORD_BYTES_MAX>(bytes).is_ok_and(|old| old.until.plus(REMEMBERED) < issued.made)
            };
            tokens.retain(|_, bytes| !forgotten(bytes))?;
            if tokens.len()? >= TOKENS_MAX {
                Err(format!("{TOKENS_MAX} tokens are remembered already; wait until some have ended"))
            } else {
                tokens.insert(id.as_slice(), encode(issued).as_slice())?;
                Ok(())
            }
        };
        write.commit()?;
        Ok(made)
    }

    /// Judges the token of this id, and marks it as used if it is used now; whose it is.
    pub fn take(
        &self,
        id: TokenId,
        presented: &Presented,
        revoked: impl Fn(&Issued) -> Option<Revocation>,
    ) -> Result<Result<Identity, Refusal>, FileError> {
        let write = disk::begin(&self.0, false)?;
        let taken = {
            let mut tokens = write.open_table(TOKENS)?;
            let issued = tokens.get(id.as_slice())?.map(|bytes| decode::<Issued, RECORD_BYTES_MAX>(bytes.value()));
            let issued = issued.transpose()?;
            let revocation = issued.as_ref().and_then(revoked);
            match (judge(issued.as_ref(), presented, revocation.as_ref()), issued) {
                (Ok(Verdict::First(used)), Some(issued)) => {
                    let issued = Issued { used: Some(used), ..issued };
                    tokens.insert(id.as_slice(), encode(&issued).as_slice())?;
                    Ok(issued.who)
                }
                (Ok(Verdict::Again), Some(issued)) => Ok(issued.who),
                (Ok(_), None) => Err(Refusal::Tampered),
                (Err(refusal), _) => Err(refusal),
            }
        };
        if taken.is_ok() {
            write.commit()?;
        }
        Ok(taken)
    }

    /// Those that are later than what is known are on disk when this returns.
    pub fn revoke(&self, news: &[Revocation]) -> Result<Result<(), String>, FileError> {
        let write = disk::begin(&self.0, false)?;
        let full = {
            let mut table = write.open_table(REVOCATIONS)?;
            for revocation in news {
                let key = revocation.who.to_string();
                let known = table.get(key.as_str())?.map(|bytes| decode::<Revocation, RECORD_BYTES_MAX>(bytes.value()));
                if known.transpose()?.is_none_or(|known| known.at < revocation.at) {
                    table.insert(key.as_str(), encode(revocation).as_slice())?;
                }
            }
            table.len()? > REVOCATIONS_MAX
        };
        if full {
            return Ok(Err(format!("{REVOCATIONS_MAX} names are revoked already; make a new authority")));
        }
        write.commit()?;
        Ok(Ok(()))
    }

    /// Who of this name was given a token.
    pub fn known(&self, tenant: &TenantId, name: &NodeName) -> Result<BTreeSet<Identity>, FileError> {
        let table = self.0.begin_read()?.open_table(TOKENS)?;
        let mut known = BTreeSet::new();
        for row in table.iter()? {
            let issued: Issued = decode::<_, RECORD_BYTES_MAX>(row?.1.value())?;
            if issued.who.tenant == *tenant && issued.who.name == *name {
                known.insert(issued.who);
            }
        }
        Ok(known)
    }
}

/// A token made now, and what is remembered of it.
pub(super) fn made(sha256: [u8; 32], who: Identity, by: Identity, now: Timestamp, ttl: Duration) -> Issued {
    Issued { who, sha256, made: now, until: now.plus(ttl), by, used: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Role;

    const HOUR: Duration = Duration::from_secs(3600);

    fn id(text: &str) -> Identity {
        text.parse().expect("an identity")
    }

    fn file() -> (tempfile::TempDir, FabricFile) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = FabricFile::open(&dir.path().join("fabric.redb")).expect("is made");
        (dir, file)
    }

    fn token(file: &FabricFile, number: u8, who: &str, now: Timestamp) {
        let issued = made([number; 32], id(who), id("main/operator/ada"), now, HOUR);
        file.add([number; TOKEN_ID_BYTES], &issued).expect("the disk is well").expect("there is room");
    }

    fn take(file: &FabricFile, number: u8, key: u8) -> Result<Identity, Refusal> {
        let (role, now) = (Role::Edge, Timestamp::now());
        let presented = Presented { sha256: [number; 32], role, key_sha256: [key; 32], now };
        file.take([number; TOKEN_ID_BYTES], &presented, |_| None).expect("the disk is well")
    }

    #[test]
    fn a_token_that_was_used_stays_used_when_the_file_is_opened_again() {
        let (dir, file) = file();
        token(&file, 1, "main/edge/yard", Timestamp::now());
        assert_eq!(take(&file, 1, 7), Ok(id("main/edge/yard")));
        drop(file);
        let file = FabricFile::open(&dir.path().join("fabric.redb")).expect("is opened");
        assert!(matches!(take(&file, 1, 8), Err(Refusal::Used(_))));
        assert_eq!(take(&file, 1, 7), Ok(id("main/edge/yard")), "the same box, again");
        assert_eq!(take(&file, 2, 7), Err(Refusal::Tampered));
    }

    #[test]
    fn no_secret_of_a_token_is_in_the_file() {
        let (dir, file) = file();
        let text = "wt1.edge.yard.main.0101010101010101.abababababababababababababababab.77";
        let sha256 = protocol::enrol::sha256(text.as_bytes());
        let issued = made(sha256, id("main/edge/yard"), id("main/operator/ada"), Timestamp::now(), HOUR);
        file.add([1; TOKEN_ID_BYTES], &issued).expect("the disk is well").expect("there is room");
        drop(file);
        let bytes = std::fs::read(dir.path().join("fabric.redb")).expect("is there");
        let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        assert!(has(&sha256), "the hash is there");
        assert!(!has(b"abababab") && !has(&[0xab; 8]), "and the secret is not");
    }

    #[test]
    fn tokens_are_forgotten_a_week_after_their_end() {
        let (_dir, file) = file();
        let now = Timestamp::now();
        token(&file, 1, "main/edge/yard", now.minus(REMEMBERED + 2 * HOUR));
        token(&file, 2, "main/edge/yard", now.minus(REMEMBERED));
        token(&file, 3, "main/edge/yard", now);
        assert_eq!(take(&file, 1, 7), Err(Refusal::Tampered), "forgotten");
        assert!(matches!(take(&file, 2, 7), Err(Refusal::Expired(_))), "still remembered");
    }

    #[test]
    fn revocations_are_kept_the_latest_of_each_name() {
        let (dir, file) = file();
        let by = id("main/operator/ada");
        let of = |who: &str, at| Revocation { who: id(who), at: Timestamp::from_micros(at), by: by.clone() };
        let all = [of("main/edge/yard", 5), of("main/gpu/yard", 6), of("main/edge/yard", 4)];
        file.revoke(&all).expect("the disk is well").expect("there is room");
        drop(file);
        let file = FabricFile::open(&dir.path().join("fabric.redb")).expect("is opened");
        let kept = file.revocations().expect("are readable");
        assert_eq!(kept, [of("main/edge/yard", 5), of("main/gpu/yard", 6)]);
    }

    #[test]
    fn names_are_known_by_their_tokens_within_their_tenant() {
        let (_dir, file) = file();
        for (number, who) in [(1, "main/edge/yard"), (2, "main/gpu/yard"), (3, "acme/edge/yard"), (4, "main/edge/barn")]
        {
            token(&file, number, who, Timestamp::now());
        }
        let known = file.known(&TenantId::default(), &"yard".parse().expect("a name")).expect("the disk is well");
        assert_eq!(known.into_iter().collect::<Vec<_>>(), [id("main/edge/yard"), id("main/gpu/yard")]);
    }
}
