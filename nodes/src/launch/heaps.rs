//! Heaps: how the allocator keeps what is free.
//!
//! glibc gives threads up to eight heaps a core, and what is free in one of them is of no use in another. A relay's
//! memory is its connections, which begin on any thread: with sixteen heaps a thousand edges left 23 MB free, with two 7.
//!
//! It also gives the end of a heap back as soon as a megabyte is free. An edge's pictures are as large as that, and come
//! and go five times a second: a quarter of its time went into pages given back and asked for again.
//!
//! Limits are read before a program's first line, so it starts itself once more: the same process, the same words.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// glibc's own variables. Whoever has set one of them has decided.
type Limits = &'static [(&'static str, &'static str)];

const FEW: Limits = &[("MALLOC_ARENA_MAX", "2")];

/// A heap keeps 16 MiB; what is larger than 4 MiB is never in one.
const KEEPING: Limits = &[("MALLOC_TRIM_THRESHOLD_", "16777216"), ("MALLOC_MMAP_THRESHOLD_", "4194304")];

/// Does not return but in the program that has few, or where it cannot be started once more.
pub fn few() {
    limited(FEW);
}

/// Does not return but in the program that keeps what is free for the next picture, or where it cannot be started once more.
pub fn keeping() {
    limited(KEEPING);
}

fn limited(limits: Limits) {
    if limits.iter().any(|(variable, _)| std::env::var_os(variable).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let (mut words, mut again) = (std::env::args_os(), Command::new(program));
    if let Some(own_name) = words.next() {
        again.arg0(own_name);
    }
    // Its file is gone, since somebody has put a newer one there: other heaps are no reason not to run.
    let _not_started = again.args(words).envs(limits.iter().copied()).exec();
}
