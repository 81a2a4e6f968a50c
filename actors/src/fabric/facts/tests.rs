//! What the audit log says of an act that takes its time.

use super::*;
use std::sync::Mutex;
use supervision::{Actor, Context, Failure, Intensity, Mailbox, Overflow, Root, Strategy, Tree, child};
use tokio::sync::Semaphore;

const PATH: &str = "yard/door";

/// Stops when it is let go.
struct Slow(Arc<Semaphore>);

impl Actor for Slow {
    type Msg = ();

    async fn handle(&mut self, (): (), _cx: &mut Context<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn stopping(&mut self, _cx: &mut Context<()>) {
        let _ = self.0.acquire().await;
    }
}

/// The messages of the audit log.
#[derive(Clone, Default)]
struct Audit(Arc<Mutex<Vec<String>>>);

impl Audit {
    fn read(&self) -> Vec<String> {
        self.0.lock().expect("no test panics while writing").clone()
    }
}

struct Message(String);

impl tracing::field::Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Audit {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "audit"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().expect("no test panics while writing").push(message.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn an_act_that_takes_long_is_under_way_until_it_is_done() {
    let audit = Audit::default();
    let _here = tracing::subscriber::set_default(audit.clone());
    let (let_go, mailbox) = (Arc::new(Semaphore::new(0)), Mailbox::new("door", 1, Overflow::Wait));
    let slow = let_go.clone();
    let door = child("door", &mailbox, move || Ok(Slow(slow.clone()))).stop_within(Duration::from_secs(60));
    let intensity = Intensity { restarts: 1, within: Duration::from_secs(60) };
    let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![door] };
    let node = "main/edge/yard".parse().expect("an identity");
    let facts = Facts::new(node, Roll::default(), Health::default());
    let root = Root::start(tree, facts.roll.clone()).await.expect("starts");

    let by: Identity = "main/operator/ada".parse().expect("an identity");
    let told = facts.steer_within(Duration::from_millis(50), PATH.to_owned(), Act::Restart, by).await;
    assert!(told.as_ref().is_ok_and(|told| told.starts_with("restart of yard/door is under way")), "{told:?}");
    assert_eq!(audit.read(), ["under way"]);
    let_go.add_permits(10);
    let done = async {
        while audit.read() != ["under way", "steered"] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), done).await.expect("what came of it is on the log");
    assert_eq!(facts.roll.get(PATH).expect("it is there").restarts, 1);
    root.stop().await;
}
