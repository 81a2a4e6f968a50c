//! A small actor that does as it is told, trees of it, and waiting for conditions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use supervision::{
    Actor, Backoff, Context, Failure, Gone, Intensity, Mailbox, Node, Overflow, Roll, Root, State, Strategy, Tree,
    child,
};
use tokio::sync::oneshot;

/// Long enough for the slowest machine; a test that meets its condition never waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// False if this test is run in a process of its own instead, and has passed there: one that counts what its process
/// holds must not count what others hold.
pub fn alone(name: &str) -> bool {
    if std::env::var("ALONE").is_ok() {
        return true;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().expect("it has a path"));
    let ended = alone.args(["--exact", name, "--nocapture"]).env("ALONE", "1").status();
    assert!(ended.expect("the test can be run again").success(), "alone it failed");
    false
}

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub fn write(&self, entry: impl Into<String>) {
        self.0.lock().expect("no test panics while writing").push(entry.into());
    }

    pub fn read(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while writing").clone()
    }

    pub fn count(&self, entry: &str) -> usize {
        self.read().iter().filter(|line| *line == entry).count()
    }

    pub fn position(&self, entry: &str) -> usize {
        let entries = self.read();
        entries.iter().position(|line| line == entry).unwrap_or_else(|| panic!("no {entry} in {entries:?}"))
    }
}

pub enum Msg {
    /// Answers how many messages this incarnation has handled.
    Count(oneshot::Sender<u32>),
    Panic(String),
    Fail(String),
    /// Runs a task that fails.
    SpawnFailing(String),
    SpawnPanicking(String),
    /// Runs a task that never ends, and may take so long.
    SpawnEndless(Duration),
    /// Waits in the handler until released, then goes on.
    Hold(oneshot::Receiver<()>),
    /// As `Hold`, and panics then; whoever asks has his question in its hand.
    HoldAndPanic(oneshot::Receiver<()>, oneshot::Sender<u32>),
    /// Never returns from the handler.
    Hang,
    /// Blocks the thread until released, then goes on.
    Block(std::sync::mpsc::Receiver<()>),
    /// As `Block`, with a question in its hand.
    BlockInHand(std::sync::mpsc::Receiver<()>, oneshot::Sender<u32>),
    /// Is woken by the runtime's timers, and blocks the thread that looked after them until released.
    SleepAndBlock(std::sync::mpsc::Receiver<()>),
    /// Works so many times for so long, and says each time that it got on.
    Labour(u32, Duration),
    /// Tells another to write, and blocks the thread until released before that one can have begun.
    WakeAndBlock(Mailbox<Msg>, std::sync::mpsc::Receiver<()>),
    /// Ends without failure.
    Finish,
    Write(String),
}

/// Writes its life into the journal.
pub struct Puppet {
    pub name: String,
    pub journal: Journal,
    handled: u32,
    /// How `stopping` hangs.
    stubborn: bool,
}

impl Puppet {
    pub fn new(name: &str, journal: &Journal) -> Self {
        journal.write(format!("{name} made"));
        Self { name: name.to_owned(), journal: journal.clone(), handled: 0, stubborn: false }
    }

    pub fn stubborn(mut self) -> Self {
        self.stubborn = true;
        self
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.journal.write(format!("{} dropped", self.name));
    }
}

impl Actor for Puppet {
    type Msg = Msg;

    async fn started(&mut self, _cx: &mut Context<Msg>) -> Result<(), Failure> {
        self.journal.write(format!("{} started", self.name));
        Ok(())
    }

    async fn handle(&mut self, message: Msg, cx: &mut Context<Msg>) -> Result<(), Failure> {
        self.handled += 1;
        match message {
            Msg::Count(reply) => drop(reply.send(self.handled)),
            Msg::Panic(text) => panic!("{text}"),
            Msg::Fail(text) => return Err(Failure::error(text)),
            Msg::SpawnFailing(text) => cx.spawn(async move { Err(Failure::hang(text)) }),
            Msg::SpawnPanicking(text) => cx.spawn(async move { panic!("{text}") }),
            Msg::SpawnEndless(within) => cx.spawn_within(within, std::future::pending()),
            Msg::Hold(until) => drop(until.await),
            Msg::HoldAndPanic(until, _in_hand) => {
                let _ = until.await;
                panic!("with a question in its hand");
            }
            Msg::Hang => std::future::pending().await,
            Msg::Block(until) => drop(until.recv()),
            Msg::BlockInHand(until, reply) => {
                let _ = until.recv();
                let _ = reply.send(self.handled);
            }
            Msg::SleepAndBlock(until) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = until.recv();
            }
            Msg::Labour(times, each) => {
                for _ in 0..times {
                    tokio::time::sleep(each).await;
                    cx.progress().made();
                }
            }
            Msg::WakeAndBlock(other, until) => {
                tell(&other, Msg::Write("woken".to_owned()));
                let _ = until.recv();
            }
            Msg::Finish => cx.finish(),
            Msg::Write(text) => self.journal.write(text),
        }
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<Msg>) {
        self.journal.write(format!("{} stopping", self.name));
        if self.stubborn {
            std::future::pending::<()>().await;
        }
    }
}

pub fn mailbox() -> Mailbox<Msg> {
    Mailbox::new("puppet", 100, Overflow::Refuse)
}

/// Restarts at once, or nearly so: the tests do not test the pauses.
pub const BRISK: Backoff = Backoff { base: Duration::from_millis(1), max: Duration::from_millis(5) };

/// Longer than any test: a machine that stands still for a moment makes no hang of a test about something else.
pub const NEVER_HANGS: Duration = Duration::from_secs(600);

pub fn puppet(name: &'static str, mailbox: &Mailbox<Msg>, journal: &Journal) -> Node {
    let journal = journal.clone();
    let puppet = child("puppet", mailbox, move || Ok(Puppet::new(name, &journal)));
    puppet.named(name).backoff(BRISK).answers_within(NEVER_HANGS)
}

pub fn tree(name: &str, strategy: Strategy, restarts: u32, children: Vec<Node>) -> Tree {
    Tree {
        name: name.to_owned(),
        strategy,
        intensity: Intensity { restarts, within: Duration::from_secs(60) },
        children,
    }
}

pub async fn start(tree: Tree) -> (Root, Roll) {
    let roll = Roll::default();
    (Root::start(tree, roll.clone()).await.expect("the tree starts"), roll)
}

pub fn state(roll: &Roll, path: &str) -> Option<State> {
    roll.get(path).map(|status| status.state)
}

pub fn restarts(roll: &Roll, path: &str) -> u64 {
    roll.get(path).map_or(0, |status| status.restarts)
}

pub fn last(roll: &Roll, path: &str) -> Failure {
    roll.get(path).and_then(|status| status.last).expect("it has failed once")
}

pub async fn count(mailbox: &Mailbox<Msg>) -> Result<u32, Gone> {
    tokio::time::timeout(PATIENCE, mailbox.ask(Msg::Count)).await.expect("an answer or a refusal comes")
}

pub fn tell(mailbox: &Mailbox<Msg>, message: Msg) {
    mailbox.tell(message).expect("the mailbox takes it");
}
