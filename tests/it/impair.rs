//! `watchtree-impair` as a person uses it: started with a bad link, told to change it, asked what it did.

use serde_json::Value;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tests::harness::programs;

const WITHIN: Duration = Duration::from_secs(20);

struct Program {
    child: Child,
    orders: ChildStdin,
    facts: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(programs::path("watchtree-impair"));
        let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("watchtree-impair is built");
        let orders = child.stdin.take().expect("it is piped");
        let facts = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, orders, facts }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it reads");
    }

    fn fact(&mut self) -> Value {
        let line = self.facts.next().expect("another fact").expect("it is text");
        serde_json::from_str(&line).expect("facts are JSON")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_link_is_made_bad_and_good_again_by_orders() {
    let upstream = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    upstream.set_read_timeout(Some(WITHIN)).expect("a socket");
    let target = upstream.local_addr().expect("it is bound").to_string();
    let mut program = Program::start(&["127.0.0.1:0", &target, "--way", "up", "--loss", "100%", "--seed", "7"]);
    let ready = program.fact()["ready"].clone();
    assert_eq!((ready["seed"].as_u64(), ready["upstream"].as_str()), (Some(7), Some(target.as_str())));
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    client.connect(ready["listen"].as_str().expect("an address")).expect("loopback");
    client.send(b"lost").expect("loopback");
    // What is asked again until it is so ends with the test's own limit.
    let lost = loop {
        program.order("stats");
        match program.fact()["stats"]["up"]["lost"].as_u64().expect("a count") {
            0 => {}
            lost => break lost,
        }
    };
    assert_eq!(lost, 1);
    program.order("there is no such order");
    program.order("set --loss 0% --delay 1ms");
    program.order("move 127.0.0.9");
    assert_eq!(program.fact()["moved"]["clients"].as_u64(), Some(1));
    client.send(b"heard").expect("loopback");
    let mut buffer = [0; 16];
    let (bytes, from) = upstream.recv_from(&mut buffer).expect("it comes");
    assert_eq!((&buffer[..bytes], from.ip().to_string().as_str()), (&b"heard"[..], "127.0.0.9"));
    program.order("quit");
    assert!(program.child.wait().expect("it is ours").success());
}
