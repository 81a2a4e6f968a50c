//! Each way in which a port can end or misbehave has its own kind and text.

use crate::helpers::*;
use crate::ports::{PROGRAM, is_running, order, port, spec, start};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use supervision::{Failure, FailureKind, Port};

/// Of a port that will be silent.
const BEATS_WITHIN: Duration = Duration::from_secs(2);

async fn port_to_be_frozen() -> Port {
    let mut spec = spec();
    spec.beat_within = BEATS_WITHIN;
    start(&spec).await.expect("the port starts")
}

/// The port gets an order that ends it.
async fn check(ending: &str, kind: FailureKind, text: &str) {
    check_of(port().await, ending, kind, text).await;
}

async fn check_of(mut port: Port, ending: &str, kind: FailureKind, text: &str) {
    order(&mut port, ending).await;
    let failure = loop {
        match tokio::time::timeout(PATIENCE, port.recv()).await.expect("it is noticed") {
            Ok(message) => assert!(message.is_some(), "{ending} is no clean end"),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure, Failure { kind, text: text.to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_named() {
    check("abort", FailureKind::Signal, "supervision-test-port was ended by SIGABRT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segfault_is_named() {
    check("segv", FailureKind::Signal, "supervision-test-port was ended by SIGSEGV").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_is_named() {
    check("exit 7", FailureKind::Error, "supervision-test-port exited with code 7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_port_hangs() {
    let text = "supervision-test-port is silent for 2s: its process was stopped by a signal";
    check_of(port_to_be_frozen().await, "freeze", FailureKind::Hang, text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_limit_breaks_the_protocol() {
    let text = "supervision-test-port: port frame is 2000001 B, the limit is 2000000 B";
    check("oversize 2000001", FailureKind::Protocol, text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_frame_breaks_the_protocol() {
    check("unknown-kind", FailureKind::Protocol, "supervision-test-port: port frame has unknown kind 99").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_within_a_message_breaks_the_protocol() {
    check("cut", FailureKind::Protocol, "supervision-test-port ended in the middle of a message").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_port_takes_no_message_and_says_what_it_died_of() {
    let mut port = port().await;
    order(&mut port, "abort").await;
    let until = Instant::now() + PATIENCE;
    let failure = loop {
        assert!(Instant::now() < until, "it takes messages for ever");
        if let Err(failure) = port.send(b"work 1").await {
            break failure;
        }
    };
    assert_eq!(failure, Failure::signal("supervision-test-port was ended by SIGABRT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_with_code_0_is_a_clean_end() {
    let mut port = port().await;
    order(&mut port, "exit 0").await;
    assert_eq!(port.recv().await, Ok(None));
    assert_eq!(port.recv().await, Ok(None), "it may be asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hang_is_noticed_by_one_who_listens_only_for_moments() {
    let mut port = port_to_be_frozen().await;
    order(&mut port, "freeze").await;
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "the hang was never noticed");
        if let Ok(Err(failure)) = tokio::time::timeout(Duration::from_millis(20), port.recv()).await {
            return assert_eq!(failure.kind, FailureKind::Hang);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_not_called_silent_because_nobody_listened() {
    let mut port = port_to_be_frozen().await;
    let folder = tempfile::tempdir().expect("a folder can be made");
    let done = folder.path().join("done");
    // It works for four seconds, more than it may be silent.
    order(&mut port, &format!("toil 80 {}", done.display())).await;
    eventually("its work is done", || done.exists()).await;
    assert_eq!(port.recv().await, Ok(Some(b"toiled".to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_port_is_found_and_named_though_nobody_listens() {
    let mut port = port_to_be_frozen().await;
    let pid = port.pid().expect("it runs");
    let began = Instant::now();
    order(&mut port, "freeze").await;
    eventually("it is killed", || !is_running(pid)).await;
    // Found within the limit, so by a look or two before its end.
    assert!(began.elapsed() >= BEATS_WITHIN / 2, "too soon: {:?}", began.elapsed());
    let text = "supervision-test-port is silent for 2s: its process was stopped by a signal";
    assert_eq!(port.recv().await, Err(Failure::hang(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_port_is_found_and_named_by_one_who_only_sends() {
    let mut port = port_to_be_frozen().await;
    order(&mut port, "freeze").await;
    let refused = async {
        loop {
            if let Err(failure) = port.send(&vec![b'x'; 500_000]).await {
                break failure;
            }
        }
    };
    let failure = tokio::time::timeout(PATIENCE, refused).await.expect("it is found");
    assert_eq!(failure.kind, FailureKind::Hang);
    assert!(failure.text.ends_with(" 2s: its process was stopped by a signal"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_takes_no_message_hangs() {
    let mut spec = spec();
    spec.beat_within = Duration::from_millis(600);
    let mut port = start(&spec).await.expect("the port starts");
    order(&mut port, "deaf").await;
    let failure = port.send(&vec![b'x'; 1_900_000]).await.expect_err("the socket is full");
    assert_eq!(failure, Failure::hang("supervision-test-port takes no message for 600ms"));
}

#[tokio::test]
async fn a_port_is_not_said_to_take_nothing_because_its_node_stood_still() {
    let mut spec = spec();
    spec.beat_within = Duration::from_millis(600);
    let mut port = start(&spec).await.expect("the port starts");
    // What the socket holds twice, and then something that the port has to take when its node goes on.
    let message = format!("echo {}", "y".repeat(600_000));
    let mut sending = std::pin::pin!(port.send(message.as_bytes()));
    assert!(futures_util::poll!(&mut sending).is_pending(), "the socket holds all of it");
    // The only thread of the runtime; as if the node were stopped by a signal.
    std::thread::sleep(spec.beat_within * 2);
    assert_eq!(sending.await, Ok(()));
}

async fn start_failure(how: &str, within: Duration) -> Failure {
    let mut spec = spec();
    spec.args = vec![how.to_owned()];
    spec.start_within = within;
    start(&spec).await.err().expect("it does not start")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failed_start_says_what_was_missing() {
    let texts = [
        ("mute", Duration::from_millis(500), "supervision-test-port said nothing for 500ms"),
        ("other-version", PATIENCE, "supervision-test-port is of another version; install matching programs"),
        ("no-hello", PATIENCE, "supervision-test-port did not say hello first"),
        ("early-exit", PATIENCE, "supervision-test-port exited with code 3"),
    ];
    for (how, within, text) in texts {
        assert_eq!(start_failure(how, within).await, Failure::start(text));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named_with_the_way_out() {
    let failure = start(&supervision::PortSpec::new("/nowhere/port", 10)).await.err().expect("it does not start");
    assert_eq!(failure.kind, FailureKind::Start);
    assert!(failure.text.starts_with("cannot start /nowhere/port: "), "{failure}");
    assert!(failure.text.ends_with("set node.ports_dir to where it is"), "{failure}");
}

#[test]
fn a_port_that_a_person_starts_says_what_it_is() {
    let ended = std::process::Command::new(PROGRAM).output().expect("the test port can be run");
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("a node starts it"), "{said}");
}

/// What the log of the tests' process gets.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

#[derive(Clone, Default)]
struct Line {
    message: String,
    path: String,
    program: String,
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            "path" => self.path = text,
            "program" => self.program = text,
            _ => {}
        }
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.0.lock().expect("no test panics while writing").push(line);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn what_a_port_prints_is_in_the_log_under_its_path_and_a_long_line_is_cut() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let mut port = port().await;
    order(&mut port, "say 50").await;
    order(&mut port, "print on standard output").await;
    let read = || lines.0.lock().expect("no test panics while writing").clone();
    eventually("both streams are forwarded", || {
        let has = |text: &str| read().iter().any(|line| line.message.starts_with(text));
        has("on standard output") && has("line 49 ")
    })
    .await;
    for line in read() {
        let whose = (line.path.as_str(), line.program.as_str());
        assert_eq!(whose, ("test/port", "\"supervision-test-port\""), "{}", line.message);
    }
    let long: Vec<_> = read().into_iter().filter(|line| line.message.starts_with("line ")).collect();
    assert_eq!(long.len(), 50);
    assert!(long.iter().all(|line| line.message.len() == 2000), "a line is cut at 2,000 bytes");
}

#[tokio::test]
async fn a_port_that_prints_without_end_does_not_fill_the_log_and_the_rest_is_counted() {
    let lines = Lines::default();
    let _here = tracing::subscriber::set_default(lines.clone());
    let mut port = port().await;
    order(&mut port, "say 5000").await;
    let read = || lines.0.lock().expect("no test panics while writing").clone();
    let left_out =
        |line: &Line| Some(line.message.strip_suffix(" lines left out")?.parse::<usize>().expect("a number"));
    // It falls silent: what was left out is told all the same, and nothing is lost from the count.
    let told = || read().iter().filter(|line| line.message.starts_with("line ")).count();
    eventually("all are told or counted", || told() + read().iter().filter_map(left_out).sum::<usize>() == 5000).await;
    assert!(told() < 5000, "none was left out");
}
