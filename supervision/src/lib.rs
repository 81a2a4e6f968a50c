//! Supervision: a tree of actors and processes that restarts what fails and says why.
//!
//!   tree ▸ root ▸ supervisor ▸ policy   who is there, who restarts whom, when it is too much
//!   actor ▸ mailbox ▸ life              what runs, and how it is reached across restarts
//!   port                                native code in a child process, supervised alike
//!   roll ▸ failure                      what the operator sees
//!
//! Built on `ractor`; the meaning is Erlang/OTP's. Added: a child may be *parked* when it fails too
//! often, so that one camera never takes a node down. Knows nothing of cameras.

pub mod actor;
pub mod failure;
mod life;
pub mod mailbox;
pub mod policy;
pub mod port;
pub mod roll;
pub mod root;
mod supervisor;
pub mod tree;

pub use actor::{Actor, Context, Place, ServiceCx};
pub use failure::{Failure, FailureKind};
pub use mailbox::{Gone, Mailbox, Overflow, TellError};
pub use policy::{Backoff, Intensity, Strategy};
pub use port::{Port, PortSpec};
pub use roll::{Roll, State, Status};
pub use root::Root;
pub use tree::{Node, Tree, child, service};
