//! Batches: a thread that lets others finish before it begins.
//!
//! rtspsrc reads packets in one thread and hands each to another. Woken for each, the second interrupts the first some
//! hundred times a second, for nothing: a picture is whole with its last packet.

use std::cell::Cell;

thread_local! {
    static IS_SET: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread no longer interrupts another when it is woken. Costs nothing but the first time.
pub fn do_not_interrupt() {
    if !IS_SET.replace(true) {
        set();
    }
}

#[allow(unsafe_code)]
fn set() {
    let ordinary = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the parameter, and writes no memory of ours. That it is refused does no harm.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &ordinary) };
}
