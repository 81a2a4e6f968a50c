//! Ten thousand actors, restarted at random: nothing grows, nobody is lost, nobody is there twice.
//!
//! A minute in the ordinary run; `WATCHTREE_SOAK_SECONDS=600` for the long one, `WATCHTREE_SEED` for the same again.

use crate::helpers::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use supervision::{Actor, Context, Dynamic, Failure, Intensity, Mailbox, Node, Overflow, Strategy, child};
use tokio::sync::oneshot;

const NAME: &str = "soak::ten_thousand_actors_restarted_at_random_cost_nothing_that_lasts";
const ACTORS: usize = 10_000;
/// Somewhat above the 500 a second that are asked for.
const RESTARTS_A_SECOND: u64 = 600;
const TICK: Duration = Duration::from_millis(10);

/// What is known of one actor from outside.
#[derive(Default)]
struct Life {
    here: AtomicI32,
    most: AtomicI32,
    made: AtomicU64,
}

struct Grain(Arc<Life>);

enum Order {
    Panic,
    Fail,
    Ping(oneshot::Sender<()>),
}

impl Grain {
    fn new(life: &Arc<Life>) -> Self {
        let here = life.here.fetch_add(1, Ordering::SeqCst) + 1;
        life.most.fetch_max(here, Ordering::SeqCst);
        life.made.fetch_add(1, Ordering::SeqCst);
        Self(life.clone())
    }
}

impl Drop for Grain {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor for Grain {
    type Msg = Order;

    async fn handle(&mut self, order: Order, _cx: &mut Context<Order>) -> Result<(), Failure> {
        match order {
            Order::Panic => panic!("{GRAIN}"),
            Order::Fail => Err(Failure::error(GRAIN)),
            Order::Ping(reply) => {
                let _ = reply.send(());
                Ok(())
            }
        }
    }
}

const GRAIN: &str = "a grain was told to";

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_actors_restarted_at_random_cost_nothing_that_lasts() {
    if !alone(NAME) {
        return;
    }
    let seconds = setting("WATCHTREE_SOAK_SECONDS").unwrap_or(60);
    let seed = setting("WATCHTREE_SEED").unwrap_or(20_261_121);
    println!("seed {seed}, {seconds} s");
    be_silent_about_grains();
    let lives: Vec<Arc<Life>> = (0..ACTORS).map(|_| Arc::default()).collect();
    let boxes: Vec<Mailbox<Order>> = (0..ACTORS).map(|_| Mailbox::new("grain", 8, Overflow::Refuse)).collect();
    let dynamic = Dynamic::new("grains", ACTORS);
    // A budget is for what should not happen; here it is the purpose.
    let endless = Intensity { restarts: u32::MAX, within: Duration::from_millis(500) };
    let mut tree = tree("top", Strategy::OneForOne, 0, vec![dynamic.node(endless)]);
    tree.intensity = endless;
    let (root, roll) = start(tree).await;
    for (n, (life, mailbox)) in lives.iter().zip(&boxes).enumerate() {
        dynamic.start(grain(n, life, mailbox)).await.expect("it starts");
    }

    // What an actor's first failures leave behind (its reason, its history) is no growth.
    let warm = fail_each(&boxes, 2).await;
    let made = || lives.iter().map(|life| life.made.load(Ordering::SeqCst)).sum::<u64>();
    eventually("each is back", || made() == ACTORS as u64 + warm).await;
    let (before, began, mut random) = (Usage::now(), Instant::now(), seed);
    let (mut harassed, mut quarters) = (0, Vec::new());
    for _ in 0..4 {
        harassed += harass(&boxes, &mut random, Duration::from_secs(seconds) / 4).await;
        eventually("each that was told to fail is back", || made() == ACTORS as u64 + warm + harassed).await;
        quarters.push(Usage::now());
    }
    let (took, told) = (began.elapsed(), warm + harassed);
    let rate = harassed as f64 / took.as_secs_f64();
    println!("{harassed} restarts, {rate:.0} a second; before {before:?}, after each quarter {quarters:#?}");

    for (n, mailbox) in boxes.iter().enumerate() {
        let asked = tokio::time::timeout(PATIENCE, mailbox.ask(Order::Ping)).await;
        asked.expect("in time").unwrap_or_else(|error| panic!("actor {n} is lost: {error}"));
    }
    for (n, life) in lives.iter().enumerate() {
        assert_eq!(life.here.load(Ordering::SeqCst), 1, "actor {n} is here once");
        assert_eq!(life.most.load(Ordering::SeqCst), 1, "actor {n} was never here twice");
    }
    let counted: u64 = (0..ACTORS).map(|n| restarts(&roll, &format!("top/grains/{n}"))).sum();
    assert_eq!(counted, told, "the tree has counted each");
    assert!(rate >= 500.0, "only {rate:.0} restarts a second were tried: this run shows nothing");
    let [warm, .., late, last] = &quarters[..] else { panic!("four quarters") };
    assert_eq!((last.threads, last.fds), (before.threads, before.fds));
    // The allocator needs a while until each of its threads' arenas has had its fill; then it is level. What each restart
    // leaves behind grows as much in each quarter.
    let [grown, at_last] = [warm, late].map(|from| last.memory_bytes.saturating_sub(from.memory_bytes));
    assert!(grown <= last.memory_bytes / 20, "memory grew by {grown} B after the first quarter");
    assert!(at_last <= last.memory_bytes / 40, "memory grew by {at_last} B in the last quarter");
    root.stop().await;
    assert!(lives.iter().all(|life| life.here.load(Ordering::SeqCst) == 0), "nobody is left behind");
}

fn grain(n: usize, life: &Arc<Life>, mailbox: &Mailbox<Order>) -> Node {
    let life = life.clone();
    child("grain", mailbox, move || Ok(Grain::new(&life)))
        .named(n.to_string())
        .backoff(BRISK)
        .answers_within(NEVER_HANGS)
}

/// Each fails so often, as fast as it is back.
async fn fail_each(boxes: &[Mailbox<Order>], times: u64) -> u64 {
    for _ in 0..times {
        for mailbox in boxes {
            mailbox.tell(Order::Panic).expect("there is room");
            tokio::task::yield_now().await;
        }
        for mailbox in boxes {
            mailbox.ask(Order::Ping).await.expect("it is back");
        }
    }
    times * ACTORS as u64
}

/// Tells actors to fail, evenly for so long; how many took it.
async fn harass(boxes: &[Mailbox<Order>], random: &mut u64, how_long: Duration) -> u64 {
    let (began, mut told) = (Instant::now(), 0);
    while began.elapsed() < how_long {
        // What a busy machine held up is caught up with, a bit at a time.
        let due = (began.elapsed().as_micros() as u64 * RESTARTS_A_SECOND / 1_000_000).min(told + 50);
        while told < due {
            let order = if next(random).is_multiple_of(2) { Order::Panic } else { Order::Fail };
            let mailbox = &boxes[next(random) as usize % ACTORS];
            // One that was hit again before it was back has its fill.
            told += u64::from(mailbox.tell(order).is_ok());
        }
        tokio::time::sleep(TICK).await;
    }
    told
}

/// xorshift64*
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn be_silent_about_grains() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(GRAIN) {
            usual(panic);
        }
    }));
}

#[derive(Debug)]
struct Usage {
    memory_bytes: u64,
    threads: usize,
    fds: usize,
}

impl Usage {
    fn now() -> Self {
        let entries = |dir: &str| std::fs::read_dir(dir).expect("Linux has /proc").count();
        let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
        let pages: u64 =
            statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has a second field");
        let memory_bytes = pages * rustix::param::page_size() as u64;
        Self { memory_bytes, threads: entries("/proc/self/task"), fds: entries("/proc/self/fd") }
    }
}
