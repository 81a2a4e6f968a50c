//! A port that misbehaves on demand: the word it is sent, or its first argument, says how.
//!
//! `parent` as an argument turns it into a node that starts a port and waits to be killed, or interrupted.

use rustix::process::{Signal, getpid, kill_process};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;
use supervision::port::child::{Listener, Speaker, enter};
use supervision::port::wire::{self, Kind};
use supervision::{Place, Port, PortSpec};
use tokio::signal::unix::{SignalKind, signal};

const TOIL_STEP: Duration = Duration::from_millis(50);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("parent") => parent(),
        Some("late-parent") => late_parent(),
        Some("late-start") => {
            // As a program whose libraries take their time to load: until there is such a file.
            let go = std::env::args().nth(2).expect("the file has a path");
            while !std::path::Path::new(&go).exists() {
                std::thread::sleep(Duration::from_millis(10));
            }
            port();
        }
        Some("mute") => std::thread::sleep(Duration::from_secs(600)),
        Some("other-version") => hello(wire::VERSION + 1),
        Some("no-hello") => raw(&[&head(Kind::Data, 2)[..], b"hi"].concat()),
        Some("early-exit") => std::process::exit(3),
        _ => port(),
    }
}

fn port() {
    socket();
    let (speaker, mut listener) = match enter("supervision-test-port") {
        Ok(ends) => ends,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    while let Some(order) = listener.recv().expect("the node speaks our protocol") {
        obey(&order, &speaker, &mut listener);
    }
}

fn obey(order: &[u8], speaker: &Speaker, listener: &mut Listener) {
    let order = String::from_utf8_lossy(order).into_owned();
    let (word, rest) = order.split_once(' ').unwrap_or((&order, ""));
    let number = || rest.parse::<usize>().expect("the order has a number");
    match word {
        "echo" => speaker.send(rest.as_bytes()).expect("the node listens"),
        "bytes" => speaker.send(&vec![7; number()]).expect("the node listens"),
        "send-error" => {
            let error = speaker.send(&vec![7; number()]).expect_err("the message is over the limit");
            speaker.send(error.to_string().as_bytes()).expect("the node listens");
        }
        "flood" => (0..number()).for_each(|n| {
            let mut message = vec![0; 300_000];
            message[..8].copy_from_slice(&(n as u64).to_be_bytes());
            speaker.send(&message).expect("the node listens");
        }),
        "say" => (0..number()).for_each(|n| eprintln!("line {n} {}", "x".repeat(3000))),
        "print" => println!("{rest}"),
        "work" => (0..number()).for_each(|_| speaker.progress()),
        "idle" => speaker.idle(rest == "true"),
        // Works at its own pace for so many steps, and falls asleep over each; says so in a file, if one is named.
        "toil" => {
            let (steps, file) = rest.split_once(' ').unwrap_or((rest, ""));
            speaker.idle(false);
            for _ in 0..steps.parse::<usize>().expect("the order has a number") {
                speaker.progress();
                std::thread::sleep(TOIL_STEP);
            }
            if !file.is_empty() {
                std::fs::write(file, "").expect("the file can be written");
            }
            speaker.send(b"toiled").expect("the node listens");
        }
        "spin" => {
            speaker.idle(false);
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_secs(600) {
                std::hint::spin_loop();
            }
        }
        "hoard" => hoard(number()),
        "leak" => loop {
            hoard(1);
            std::thread::sleep(Duration::from_millis(10));
        },
        "grab" => drop(std::hint::black_box(vec![0u8; number() << 20])),
        "grandchild" => {
            // Left behind on purpose: it is the node's to end.
            #[allow(clippy::zombie_processes)]
            let child = std::process::Command::new("sleep").arg("600").spawn().expect("there is a sleep");
            speaker.send(child.id().to_string().as_bytes()).expect("the node listens");
        }
        "abort" => std::process::abort(),
        "segv" => signal_self(Signal::SEGV),
        "freeze" => signal_self(Signal::STOP),
        "exit" => std::process::exit(rest.parse().expect("the order has a code")),
        "oversize" => raw(&head(Kind::Data, number())),
        "unknown-kind" => raw(&[0, 0, 0, 0, 99]),
        "cut" => {
            raw(&[&head(Kind::Data, 100)[..], b"only this"].concat());
            std::process::exit(0);
        }
        "deaf" => std::thread::sleep(Duration::from_secs(600)),
        "ignore-stop" => while listener.recv().is_ok() {},
        other => panic!("unknown order {other}"),
    }
}

/// Once: a port dies of the first.
fn signal_self(signal: Signal) {
    kill_process(getpid(), signal).expect("a process may signal itself");
    std::thread::sleep(Duration::from_secs(600));
}

/// MiB that are used and never given back.
fn hoard(mib: usize) {
    std::hint::black_box(vec![1u8; mib << 20].leak());
}

fn head(kind: Kind, bytes: usize) -> [u8; wire::HEAD_BYTES] {
    wire::head(kind, bytes).expect("the length fits")
}

fn hello(version: u16) {
    raw(&[&head(Kind::Hello, 2)[..], &version.to_be_bytes()].concat());
    std::thread::sleep(Duration::from_secs(600));
}

/// Taken first: later, standard input is empty.
fn socket() -> &'static UnixStream {
    static SOCKET: OnceLock<UnixStream> = OnceLock::new();
    SOCKET.get_or_init(|| std::io::stdin().as_fd().try_clone_to_owned().expect("standard input is open").into())
}

/// Past the speaker, which would refuse to break the protocol.
fn raw(bytes: &[u8]) {
    socket().write_all(bytes).expect("the node listens");
}

/// Says its port's pid; told to interrupt, it stops the port in order and says what the port still said.
fn parent() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let spec = PortSpec::new(std::env::current_exe().expect("it has a path"), 1000);
        let mut interrupted = signal(SignalKind::interrupt()).expect("signals can be heard");
        let mut port = Port::spawn(&spec, &Place::detached("parent")).await.expect("the port starts");
        println!("{}", port.pid().expect("the port runs"));
        interrupted.recv().await;
        port.send(b"echo still here").await.expect("the port takes it");
        let reply = port.recv().await.expect("the port lives").expect("it has not ended");
        println!("{}", String::from_utf8_lossy(&reply));
        port.stop(Duration::from_secs(5)).await;
    });
}

/// Is killed while its port starts.
fn late_parent() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let mut spec = PortSpec::new(std::env::current_exe().expect("it has a path"), 1000);
        spec.args = vec!["late-start".to_owned(), std::env::args().nth(2).expect("the file has a path")];
        let _ = Port::spawn(&spec, &Place::detached("parent")).await;
        std::future::pending::<()>().await;
    });
}
