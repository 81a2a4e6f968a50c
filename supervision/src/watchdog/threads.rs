//! Which actor's code each thread is in.

use super::{Looks, Pulse, lock, looks_in};
use std::cell::OnceCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};

static THREADS: Mutex<Vec<(Weak<Slot>, Looks)>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Slot(Mutex<Turn>);

#[derive(Default)]
struct Turn {
    /// Changes whenever the thread enters or leaves an actor's code.
    number: u64,
    inside: Option<Arc<Pulse>>,
}

impl Slot {
    /// Both at once: an old number with a new actor would blame one that has just begun.
    fn turn(&self, inside: Option<Arc<Pulse>>) -> Option<Arc<Pulse>> {
        let mut turn = lock(&self.0);
        turn.number += 1;
        std::mem::replace(&mut turn.inside, inside)
    }
}

thread_local! {
    static MINE: OnceCell<Arc<Slot>> = const { OnceCell::new() };
}

/// Runs `work`; each of its turns is seen by the watchdog as this actor's.
pub(crate) async fn inside<T>(pulse: Arc<Pulse>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let _inside = enter(&pulse);
        work.as_mut().poll(cx)
    })
    .await
}

pub(crate) struct Inside {
    slot: Arc<Slot>,
    before: Option<Arc<Pulse>>,
}

/// This thread is in this actor's code until the guard is dropped.
pub(crate) fn enter(pulse: &Arc<Pulse>) -> Inside {
    let slot = MINE.with(|mine| mine.get_or_init(enlist).clone());
    let before = slot.turn(Some(pulse.clone()));
    Inside { slot, before }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // One actor's code may run within another's: `block_in_place`, a future polled by hand.
        let before = self.before.take();
        drop(self.slot.turn(before));
    }
}

fn enlist() -> Arc<Slot> {
    let slot = Arc::new(Slot::default());
    let mut threads = lock(&THREADS);
    threads.retain(|(slot, _)| slot.strong_count() > 0);
    threads.push((Arc::downgrade(&slot), Looks::default()));
    slot
}

/// In whose code threads are, for those who ask why nothing else runs.
pub(super) fn occupants() -> Vec<Arc<str>> {
    let occupant = |(slot, _): &(Weak<Slot>, Looks)| Some(lock(&slot.upgrade()?.0).inside.as_ref()?.path.clone());
    lock(&THREADS).iter().filter_map(occupant).collect()
}

/// Those whose code has kept its thread for longer than they may. One that starts has its supervisor's patience.
pub(super) fn look() -> Vec<Arc<Pulse>> {
    let look = |(slot, looks): &mut (Weak<Slot>, Looks)| {
        let slot = slot.upgrade()?;
        let turn = lock(&slot.0);
        let same = looks.see(turn.number);
        let pulse = turn.inside.clone().filter(|pulse| pulse.is_blamed_for_its_thread())?;
        (same >= looks_in(pulse.terms.turn_within)).then_some(pulse)
    };
    lock(&THREADS).iter_mut().filter_map(look).collect()
}

/// Whether some thread has been in this actor's code since the look before.
pub(super) fn is_inside(pulse: &Arc<Pulse>) -> bool {
    let holds = |(slot, looks): &(Weak<Slot>, Looks)| {
        let Some(slot) = slot.upgrade() else { return false };
        let turn = lock(&slot.0);
        turn.inside.as_ref().is_some_and(|inside| Arc::ptr_eq(inside, pulse)) && turn.number == looks.value
    };
    lock(&THREADS).iter().any(holds)
}
