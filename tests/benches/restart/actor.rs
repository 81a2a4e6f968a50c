//! Our side of the race, a process of its own: a supervisor, an actor that panics on order, and who asks it.
//!
//!   client ──tell boom──▶ [plain] ──panic──▶ a node's panic hook and log ──▶ file
//!      └─────ask who───▶ [plain, restarted by its supervisor]
//!
//! Speaks as the other side (`otp_restart.erl`) does: it says what it is; then each line with a number orders
//! so many restarts, each answered by a line of nanoseconds. It ends with its input.
//! Log, panic hook, metrics and runtime are those of a node; the log is whatever stderr is.

use actors::telemetry::Recorder;
use config::LogFormat;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use supervision::{Actor, Backoff, Context, Failure, Intensity, Mailbox, Overflow, Roll, Root, Strategy, Tree, child};
use tokio::sync::oneshot;

/// The first argument that makes this program the actor's process; log level and pause in ms follow.
pub const MODE: &str = "actor";

enum Msg {
    Boom,
    /// Answers the number of this incarnation.
    Who(oneshot::Sender<u64>),
}

struct Plain {
    number: u64,
}

impl Actor for Plain {
    type Msg = Msg;

    async fn handle(&mut self, message: Msg, _cx: &mut Context<Msg>) -> Result<(), Failure> {
        match message {
            Msg::Boom => panic!("boom"),
            Msg::Who(reply) => drop(reply.send(self.number)),
        }
        Ok(())
    }
}

pub fn serve(level: &str, pause_ms: &str) -> ExitCode {
    nodes::launch::start_log(LogFormat::Text, level);
    let _recorder = Recorder::install(&"bench".parse().expect("a name"));
    let pause = Duration::from_millis(pause_ms.parse().expect("the bench wrote a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(obey(pause));
    ExitCode::SUCCESS
}

async fn obey(pause: Duration) {
    let mailbox = Mailbox::new("plain", 100, Overflow::Refuse);
    let root = Root::start(tree(&mailbox), Roll::default()).await.expect("it has nothing to fail at");
    println!("watchtree {}", env!("CARGO_PKG_VERSION"));
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let count: usize = order.parse().expect("the bench orders in numbers");
        let client = mailbox.clone();
        // A task as any other: not on a thread of its own.
        let took = tokio::spawn(async move {
            let mut took = Vec::with_capacity(count);
            for _ in 0..count {
                took.push(restart(&client, pause).await);
            }
            took
        });
        let took = took.await.expect("the client does not panic");
        let lines: String = took.iter().map(|took| format!("{}\n", took.as_nanos())).collect();
        std::io::stdout().write_all(lines.as_bytes()).expect("the bench reads");
    }
    root.stop().await;
}

/// A budget that is never spent and no pause before a restart.
fn tree(mailbox: &Mailbox<Msg>) -> Tree {
    static BORN: AtomicU64 = AtomicU64::new(0);
    let plain = child("plain", mailbox, || Ok(Plain { number: BORN.fetch_add(1, Ordering::Relaxed) }));
    Tree {
        name: "bench".to_owned(),
        strategy: Strategy::OneForOne,
        intensity: Intensity { restarts: 1_000_000, within: Duration::from_secs(1) },
        children: vec![plain.backoff(Backoff { base: Duration::ZERO, max: Duration::ZERO })],
    }
}

async fn restart(plain: &Mailbox<Msg>, pause: Duration) -> Duration {
    tokio::time::sleep(pause).await;
    let before = plain.ask(Msg::Who).await.expect("it runs");
    let began = Instant::now();
    plain.tell(Msg::Boom).expect("there is room");
    // As on the other side. The mailbox outlives its actor, so the first question is answered as a rule.
    while !plain.ask(Msg::Who).await.is_ok_and(|now| now != before) {
        tokio::task::yield_now().await;
    }
    began.elapsed()
}
