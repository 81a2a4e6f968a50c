//! Supervision: a tree of actors and processes that restarts what fails and says why.
//!
//!   tree ▸ root ▸ supervisor ▸ policy   who is there, who restarts whom, when it is too much
//!   actor ▸ mailbox ▸ life              what runs, and how it is reached across restarts
//!   port                                native code in a child process, supervised alike
//!   watchdog                            who hangs: waits for ever, blocks a thread, does nothing
//!   roll ▸ failure ▸ history ▸ steer    what the operator sees and does
//!
//! Built on `ractor`; the meaning is Erlang/OTP's. Added: a child may be *parked* when it fails too
//! often, so that one camera never takes a node down. Knows nothing of cameras.

pub mod actor;
pub mod dynamic;
pub mod failure;
pub mod history;
mod life;
pub mod mailbox;
pub mod policy;
pub mod port;
pub mod roll;
pub mod root;
pub mod steer;
mod supervisor;
pub mod tree;
pub mod watchdog;

pub use actor::{Actor, Context, Place, PortRow, Progress, ServiceCx, Token};
pub use dynamic::{Dynamic, StartError};
pub use failure::{Failure, FailureKind};
pub use history::{History, LastEnd};
pub use mailbox::{AskError, Gone, Mailbox, Overflow, TellError};
pub use policy::{AutoShutdown, Backoff, Intensity, Quarantine, Strategy};
pub use port::{Port, PortSpec};
pub use roll::{Load, Roll, State, Status};
pub use root::Root;
pub use steer::{Act, Fault, SteerError};
pub use supervisor::jitter;
pub use tree::{Node, Tree, child, service};
