//! Frames to verdicts.
//!
//!   edge:  watch ──judge──▶ asker ══frames══▶ gpu
//!                                  ◀═verdicts═
//!   gpu:   desk (one per asker) ──▶ pool: batcher ──▶ worker ──▶ model port
//!
//! Every frame submitted ends as exactly one of `ok | shed | expired | failed`, and both ends keep books.

mod aim;
mod answers;
pub mod asker;
pub mod batcher;
pub mod books;
pub mod chooser;
pub mod desk;
pub mod detect;
pub mod load;
pub mod pool;
pub mod worker;
