//! Heaps: how many the allocator may have.
//!
//! glibc gives threads up to eight heaps a core, and what is free in one of them is of no use in another. A relay's
//! memory is its connections, which begin on any thread: with sixteen heaps a thousand edges left 23 MB free, with two 7.
//! The limit is read before a program's first line, so it starts itself once more: the same process, the same words.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc's own variable. Whoever has set it has decided.
const VARIABLE: &str = "MALLOC_ARENA_MAX";
const HEAPS: &str = "2";

/// Does not return but in the program that has few, or where it cannot be started once more.
pub fn few() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let (mut words, mut again) = (std::env::args_os(), Command::new(program));
    if let Some(own_name) = words.next() {
        again.arg0(own_name);
    }
    // Its file is gone, since somebody has put a newer one there: more heaps are no reason not to run.
    let _not_started = again.args(words).env(VARIABLE, HEAPS).exec();
}
