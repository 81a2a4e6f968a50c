//! What a port died of, in words.

use super::log::Said;
use super::mib;
use crate::Failure;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

/// How native code dies when it gets no memory, and how the kernel ends it.
const SIGNALS_OF_NO_MEMORY: [i32; 5] = [libc::SIGABRT, libc::SIGKILL, libc::SIGSEGV, libc::SIGTRAP, libc::SIGBUS];

/// What is known of a dead port's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub last_bytes: u64,
    pub bytes_max: u64,
    /// The kernel has killed for want of memory in its last moments.
    pub kernel_killed: bool,
}

pub(super) fn not_started(program: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::TimedOut {
        return Failure::start(format!("cannot start {}: {error}", program.display()));
    }
    Failure::start(format!("cannot start {}: {error}; set node.ports_dir to where it is", program.display()))
}

/// `None` for a clean end.
pub(super) fn failure(name: &str, status: ExitStatus, said: &Said, memory: Memory) -> Option<Failure> {
    if let Some(signal) = status.signal() {
        return Some(failure_of_signal(name, signal, said, memory));
    }
    match status.code() {
        Some(0) => None,
        code => {
            let ended = format!("{name} exited with code {}", code.unwrap_or(-1));
            Some(Failure::error(with_last_words(ended, said)))
        }
    }
}

/// Who gives up by itself says why.
fn with_last_words(ended: String, said: &Said) -> String {
    said.last_words.as_ref().map_or(ended.clone(), |words| format!("{ended}: {words}"))
}

fn failure_of_signal(name: &str, signal: i32, said: &Said, memory: Memory) -> Failure {
    let ended = format!("{name} was ended by {}", signal_name(signal));
    if !SIGNALS_OF_NO_MEMORY.contains(&signal) {
        return Failure::signal(ended);
    }
    let Memory { last_bytes, bytes_max, kernel_killed } = memory;
    let (last, max) = (mib(last_bytes), mib(bytes_max));
    if said.no_memory {
        Failure::oom(format!("{ended} as it got no more memory; it took {last}, the limit is {max}"))
    } else if kernel_killed && signal == libc::SIGKILL {
        Failure::oom(format!("{ended} as the machine has no more memory; it took {last}, its limit is {max}"))
    } else if last_bytes >= bytes_max - bytes_max / 10 {
        Failure::oom(format!("{ended} when it took {last} of memory, the limit is {max}"))
    } else if signal == libc::SIGABRT {
        Failure::signal(with_last_words(ended, said))
    } else {
        // It came from outside, or by surprise.
        Failure::signal(ended)
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    const MIB: u64 = 1 << 20;
    const WELL: Memory = Memory { last_bytes: 50 * MIB, bytes_max: 100 * MIB, kernel_killed: false };

    fn check_said(status: i32, said: &Said, memory: Memory, kind: FailureKind, text: &str) {
        let failure = failure("port", ExitStatus::from_raw(status), said, memory).expect("this is no clean end");
        assert_eq!((failure.kind, &failure.text[..]), (kind, text));
    }

    fn check(signal: i32, memory: Memory, kind: FailureKind, text: &str) {
        check_said(signal, &Said::default(), memory, kind, text);
    }

    #[test]
    fn one_that_gives_up_is_told_with_its_last_words_and_one_that_is_killed_is_not() {
        let said = Said { no_memory: false, last_words: Some("no such library".to_owned()) };
        let code = 127 << 8;
        check_said(code, &said, WELL, FailureKind::Error, "port exited with code 127: no such library");
        check(code, WELL, FailureKind::Error, "port exited with code 127");
        check_said(libc::SIGABRT, &said, WELL, FailureKind::Signal, "port was ended by SIGABRT: no such library");
        check_said(libc::SIGKILL, &said, WELL, FailureKind::Signal, "port was ended by SIGKILL");
        assert_eq!(failure("port", ExitStatus::from_raw(0), &said, WELL), None);
    }

    #[test]
    fn a_signal_is_a_signal_while_there_is_memory() {
        check(libc::SIGABRT, WELL, FailureKind::Signal, "port was ended by SIGABRT");
        check(libc::SIGKILL, WELL, FailureKind::Signal, "port was ended by SIGKILL");
        check(34, WELL, FailureKind::Signal, "port was ended by signal 34");
        let near = Memory { last_bytes: 89 * MIB, ..WELL };
        check(libc::SIGSEGV, near, FailureKind::Signal, "port was ended by SIGSEGV");
    }

    #[test]
    fn one_near_its_limit_ran_out_of_memory() {
        let near = Memory { last_bytes: 90 * MIB, ..WELL };
        let text = "port was ended by SIGSEGV when it took 90 MiB of memory, the limit is 100 MiB";
        check(libc::SIGSEGV, near, FailureKind::Oom, text);
        check(libc::SIGTERM, near, FailureKind::Signal, "port was ended by SIGTERM");
    }

    #[test]
    fn one_that_said_so_ran_out_of_memory() {
        let said = Said { no_memory: true, last_words: Some("memory allocation of 9 bytes failed".to_owned()) };
        let text = "port was ended by SIGABRT as it got no more memory; it took 50 MiB, the limit is 100 MiB";
        check_said(libc::SIGABRT, &said, WELL, FailureKind::Oom, text);
    }

    #[test]
    fn one_that_the_kernel_chose_ran_out_of_memory() {
        let chosen = Memory { kernel_killed: true, ..WELL };
        let text = "port was ended by SIGKILL as the machine has no more memory; it took 50 MiB, its limit is 100 MiB";
        check(libc::SIGKILL, chosen, FailureKind::Oom, text);
        // The kernel's killer sends no other.
        check(libc::SIGABRT, chosen, FailureKind::Signal, "port was ended by SIGABRT");
    }
}
