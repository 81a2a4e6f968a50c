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
use protocol::core::{Answer, Ask, Tell};
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
                Ok(tell) => self.0.told(tell),
                Err(error) => unreadable(&error),
            },
            Said::Ask(bytes, reply) => {
                let answer = match unpack::<Ask>(&bytes) {
                    Ok(ask) => self.0.asked(&ask),
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

fn unreadable(error: &protocol::codec::CodecError) {
    metrics::counter!("watchtree_core_calls_total", "outcome" => "unreadable").increment(1);
    tracing::debug!("a core node said what cannot be read: {error}");
}
