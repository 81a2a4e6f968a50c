//! Tokens and revocations, as an operator asks for them.
//!
//!   CreateToken ──▶ enrolment ──▶ Token          Revoke, Revoked ──▶ enrolment ──▶ Revoked
//!
//! An operator speaks for its own tenant and for no other.

use super::{Admin, Sent, refuse};
use crate::fabric::enrolment::Enrolment;
use protocol::admin::Reply;
use protocol::core::Revocation;
use protocol::enrol::TokenText;
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::transport::Tx;
use protocol::{Identity, NodeName, Role, limits};
use std::collections::BTreeSet;
use std::time::Duration;

impl Admin {
    pub(super) async fn create_token(
        &self,
        who: &Identity,
        role: Role,
        name: NodeName,
        ttl_s: u64,
        tx: &mut Tx,
    ) -> Sent {
        let made = match self.acting(who) {
            Ok(enrolment) => enrolment.create_token(who, role, name, Duration::from_secs(ttl_s)).await,
            Err(why) => Err(why),
        };
        match made {
            Ok((token, until)) => tx.send(&Reply::Token { token: TokenText(token.to_string()), until }).await,
            Err(why) => refuse(&why, tx).await,
        }
    }

    pub(super) async fn revoke(&self, who: &Identity, name: NodeName, role: Option<Role>, tx: &mut Tx) -> Sent {
        let revoked = match self.acting(who) {
            Ok(enrolment) => self.revoke_by(enrolment, who, name, role).await,
            Err(why) => Err(why),
        };
        match revoked {
            Ok(revocation) => tx.send(&Reply::Revoked(vec![revocation])).await,
            Err(why) => refuse(&why, tx).await,
        }
    }

    async fn revoke_by(
        &self,
        enrolment: &Enrolment,
        by: &Identity,
        name: NodeName,
        role: Option<Role>,
    ) -> Result<Revocation, String> {
        let of = |role| Identity { tenant: by.tenant.clone(), role, name: name.clone() };
        let meant = match role {
            Some(role) => of(role),
            None => {
                let mut known = enrolment.known(by.tenant.clone(), name.clone()).await?;
                let is_meant = |peer: &Identity| peer.tenant == by.tenant && peer.name == name;
                known.extend(self.site.peers.ids().into_iter().filter(is_meant));
                the_only_one(&name, known)?
            }
        };
        enrolment.revoke(by, meant).await
    }

    pub(super) async fn revoked(&self, who: &Identity, tx: &mut Tx) -> Sent {
        let Some(enrolment) = &self.enrolment else { return refuse(NOT_HERE, tx).await };
        let mut all = enrolment.revoked().all();
        all.retain(|revocation| revocation.who.tenant == who.tenant);
        for some in all.chunks(limits::REVOCATIONS_MAX) {
            tx.send(&Reply::Revoked(some.to_vec())).await?;
        }
        tx.send(&Reply::Done).await
    }

    /// For who may change something.
    fn acting(&self, who: &Identity) -> Result<&Enrolment, String> {
        if !may_steer(who.role) {
            return Err(VIEWERS_LOOK.to_owned());
        }
        self.enrolment.as_ref().ok_or_else(|| NOT_HERE.to_owned())
    }
}

const NOT_HERE: &str = "this node keeps no list of who is let in; ask a relay";

fn the_only_one(name: &NodeName, known: BTreeSet<Identity>) -> Result<Identity, String> {
    let roles: Vec<String> = known.iter().map(|who| who.role.to_string()).collect();
    match (known.len(), known.into_iter().next()) {
        (1, Some(only)) => Ok(only),
        (0, _) | (_, None) => {
            Err(format!("nobody called {name} was linked or given a token here; say what it is, as in --role edge"))
        }
        _ => Err(format!("{name} is the name of several: {}; say which with --role", roles.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(known: &[&str], wanted: Result<&str, &str>) {
        let known = known.iter().map(|who| who.parse().expect("an identity")).collect();
        let found = the_only_one(&"yard".parse().expect("a name"), known).map(|who| who.to_string());
        match (found, wanted) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_enough_where_one_has_it() {
        check(&["main/edge/yard"], Ok("main/edge/yard"));
        check(&["main/edge/yard", "main/gpu/yard"], Err("several: edge, gpu; say which with --role"));
        check(&[], Err("as in --role edge"));
    }
}
