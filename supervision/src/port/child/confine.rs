//! What a port may not do, set by itself before anything else: limits that a new program cannot take off again.

use super::EnterError;
use rustix::process::{Pid, Resource, Rlimit, Signal};

/// By so many thousandths of the machine's memory it looks larger to the kernel when that must kill: one port goes,
/// and not its node, whose protection (as `OOMScoreAdjust` of its unit) it would inherit, nor a service beside it.
const OOM_SCORE_ADJ: i32 = 500;
const OOM_SCORE_ADJ_FILE: &str = "/proc/self/oom_score_adj";

/// A port holds a few sockets, plugin files and pipes; more is a leak.
const OPEN_FILES_MAX: u64 = 512;

/// Dies with the node, dumps no core, gains no privileges, opens few files, takes so much memory, and is the first
/// to go when the machine has none.
pub(super) fn confine(program: &str, parent: i32, data_bytes_max: u64) -> Result<(), EnterError> {
    let io_error = |error: rustix::io::Errno| EnterError::Io(program.to_owned(), error.into());
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(io_error)?;
    // The parent may have died before the line above.
    if rustix::process::getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(parent) {
        return Err(EnterError::Orphan(program.to_owned()));
    }
    rustix::thread::set_no_new_privs(true).map_err(io_error)?;
    die_first();
    die_of_faults();
    for (resource, most) in [(Resource::Core, 0), (Resource::Nofile, OPEN_FILES_MAX), (Resource::Data, data_bytes_max)]
    {
        limit(resource, most).map_err(io_error)?;
    }
    Ok(())
}

/// Whoever is to die earlier already stays so. Without /proc the kernel chooses by size alone, and a port works all
/// the same.
fn die_first() {
    let inherited = std::fs::read_to_string(OOM_SCORE_ADJ_FILE).ok().and_then(|text| text.trim().parse().ok());
    if inherited.is_some_and(|inherited: i32| inherited < OOM_SCORE_ADJ) {
        let _ = std::fs::write(OOM_SCORE_ADJ_FILE, OOM_SCORE_ADJ.to_string());
    }
}

/// Never above what the node itself was given.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let most = rustix::process::getrlimit(resource).maximum.map_or(most, |given| given.min(most));
    rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Rust's handler for SIGSEGV and SIGBUS swallows one that another process sent: it looks for a stack
/// overflow, finds none, and returns to an instruction that does not fault. A port dies of it at once.
#[allow(unsafe_code)]
fn die_of_faults() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: SIG_DFL is a valid disposition for both, and no other thread runs yet that could
        // depend on the one it replaces.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
