//! Gateway: the one actor of this node that other core nodes reach. Whatever they want goes through it.
//!
//!   core nodes ══Said══▶ [gateway] ──▶ directory, revocations
//!                           └──Answer══▶
//!
//! It is an actor of ractor's own and not of ours: ractor_cluster finds it by its message type. It never waits. Who
//! said something is not in the message, and nodes of the core trust each other: what is told of a third node is checked
//! against the core's members, and no more.

use super::Core;
use super::said::{Said, pack, unpack};
use crate::fabric::refusals;
use protocol::Role;
use protocol::core::{Answer, Ask, Tell};
use protocol::roles::{self, Denied, Listed, Row, Who};
use ractor::{Actor, ActorProcessingErr, ActorRef, pg};

pub(super) struct Gateway(pub Core);

impl Actor for Gateway {
    type Msg = Said;
    type State = ();
    type Arguments = Vec<String>;

    async fn pre_start(&self, me: ActorRef<Said>, groups: Vec<String>) -> Result<(), ActorProcessingErr> {
        for group in groups {
            pg::join(group, vec![me.get_cell()]);
        }
        Ok(())
    }

    async fn handle(&self, _me: ActorRef<Said>, said: Said, _state: &mut ()) -> Result<(), ActorProcessingErr> {
        match said {
            Said::Tell(bytes) => match unpack::<Tell>(&bytes) {
                Ok(tell) => {
                    if self.check(tell.row()).is_ok() {
                        self.0.told(tell);
                    }
                }
                Err(error) => unreadable(&error),
            },
            Said::Ask(bytes, reply) => {
                let answer = match unpack::<Ask>(&bytes) {
                    Ok(ask) => match self.check(ask.row()) {
                        Ok(()) => self.0.asked(&ask),
                        Err(denied) => Answer::Refused(denied.to_string()),
                    },
                    Err(error) => {
                        unreadable(&error);
                        Answer::Refused(format!("the question cannot be read: {error}"))
                    }
                };
                let answer = pack(&answer).or_else(|error| pack(&Answer::Refused(error.to_string())));
                if let Ok(bytes) = answer {
                    // Whoever asked may be gone.
                    let _ = reply.send(bytes);
                }
            }
        }
        Ok(())
    }
}

impl Gateway {
    /// Who says it is not known, so it is taken where the role table lets any core node say it.
    fn check(&self, row: &'static Row) -> Result<(), Denied> {
        let here = self.0.0.node.role;
        let peers = [Role::Relay, Role::Gpu];
        if peers.into_iter().any(|peer| roles::may(here, peer, row)) {
            return Ok(());
        }
        // A relay takes all there is; on a gpu node nobody but relays is heard.
        let denied = Denied { here, peer: Who::Relay, row };
        refusals::denied("a core node", &denied);
        Err(denied)
    }
}

fn unreadable(error: &protocol::codec::CodecError) {
    metrics::counter!("watchtree_core_calls_total", "outcome" => "unreadable").increment(1);
    tracing::debug!("a core node said what cannot be read: {error}");
}
