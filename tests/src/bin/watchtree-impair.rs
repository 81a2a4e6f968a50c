//! `watchtree-impair`: a bad network to try things in. What comes to LISTEN goes on to UPSTREAM, and back, impaired.
//!
//!   watchtree-impair 127.0.0.1:7000 127.0.0.1:6000 --delay 50ms --jitter 10ms --loss 5% --seed 7
//!
//! Orders on stdin, one a line; `help` lists them. Facts on stdout, one JSON object a line.

use anyhow::{Context, Result};
use clap::{Args, Parser};
use serde::Serialize;
use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tests::impairment::conditions::{QUEUE_BYTES, parse_bytes, parse_rate, parse_share, parse_time};
use tests::impairment::{Impairment, Limits, Proxy, Rate, Stats, Way};

#[derive(Debug, Parser)]
#[command(version, about = "A bad network between two ends of UDP")]
struct Cli {
    /// Whereto clients send; port 0 takes a free one.
    listen: SocketAddr,
    /// Where it goes on to.
    upstream: String,
    #[command(flatten)]
    weather: Weather,
    /// The same seed and packets meet the same fate; without one it is drawn, and told.
    #[arg(long)]
    seed: Option<u64>,
    /// Go on when stdin ends.
    #[arg(long)]
    stay: bool,
}

/// What is left out stays as it is.
#[derive(Debug, Clone, Args)]
struct Weather {
    /// up (towards UPSTREAM), down or both.
    #[arg(long, default_value = "both")]
    way: Way,
    /// Of every packet: 50ms, 200us, 1.5s.
    #[arg(long, value_parser = parse_time)]
    delay: Option<Duration>,
    /// Up to so much more; reorders nothing.
    #[arg(long, value_parser = parse_time)]
    jitter: Option<Duration>,
    /// The share that never arrives: 5%.
    #[arg(long, value_parser = parse_share)]
    loss: Option<f64>,
    /// The share that is held back while others go on.
    #[arg(long, value_parser = parse_share)]
    reorder: Option<f64>,
    /// For how long.
    #[arg(long, value_parser = parse_time)]
    reorder_by: Option<Duration>,
    /// The share that arrives twice.
    #[arg(long, value_parser = parse_share)]
    duplicate: Option<f64>,
    /// The share of which one bit is flipped.
    #[arg(long, value_parser = parse_share)]
    corrupt: Option<f64>,
    /// Bits a second, 100mbit or 512kbit; 0bit for as many as there are.
    #[arg(long, value_parser = parse_rate)]
    rate: Option<u64>,
    /// Before a link with a rate: 256k. What finds it full is dropped.
    #[arg(long, value_parser = parse_bytes, requires = "rate")]
    queue: Option<u64>,
}

#[derive(Debug, Parser)]
#[command(multicall = true)]
enum Order {
    /// Change the weather
    Set(Weather),
    /// Cut the link: up, down or both
    Partition {
        #[arg(default_value = "both")]
        way: Way,
    },
    /// End a partition
    Heal,
    /// Let clients come from another port, and from another address if one is given
    Move { to: Option<IpAddr> },
    /// Tell what was done so far
    Stats,
    /// End
    Quit,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Ready { listen: SocketAddr, upstream: SocketAddr, seed: u64 },
    Moved { clients: usize },
    Stats(Box<Stats>),
    Refused(String),
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().init();
    let seed = cli.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut found = cli.upstream.to_socket_addrs().with_context(|| format!("UPSTREAM {}", cli.upstream))?;
    let upstream = found.next().with_context(|| format!("UPSTREAM {} has no address", cli.upstream))?;
    let proxy = Proxy::listen(cli.listen, upstream, Impairment::default(), seed, Limits::default())
        .with_context(|| format!("cannot listen on {}", cli.listen))?;
    proxy.change(cli.weather.way, |link| cli.weather.change(link));
    tell(&Fact::Ready { listen: proxy.addr(), upstream, seed })?;
    for line in std::io::stdin().lock().lines() {
        if !obey(&proxy, &line?)? {
            return Ok(());
        }
    }
    if cli.stay {
        loop {
            std::thread::park();
        }
    }
    Ok(())
}

/// `false`: it is to end.
fn obey(proxy: &Proxy, line: &str) -> Result<bool> {
    let words = line.split_whitespace().collect::<Vec<_>>();
    if words.is_empty() {
        return Ok(true);
    }
    match Order::try_parse_from(words) {
        Ok(Order::Set(weather)) => proxy.change(weather.way, |link| weather.change(link)),
        Ok(Order::Partition { way }) => proxy.partition(way),
        Ok(Order::Heal) => proxy.heal(),
        Ok(Order::Move { to }) => match proxy.move_clients(to) {
            Ok(clients) => tell(&Fact::Moved { clients })?,
            Err(error) => tell(&Fact::Refused(format!("clients stay where they are: {error}")))?,
        },
        Ok(Order::Stats) => tell(&Fact::Stats(Box::new(proxy.stats())))?,
        Ok(Order::Quit) => return Ok(false),
        // For people: what is wrong, or the help that they asked for.
        Err(wrong) => eprintln!("{wrong}"),
    }
    Ok(true)
}

impl Weather {
    fn change(&self, link: &mut Impairment) {
        fn set<T: Copy>(what: &mut T, to: Option<T>) {
            *what = to.unwrap_or(*what);
        }
        set(&mut link.delay, self.delay);
        set(&mut link.jitter, self.jitter);
        set(&mut link.loss, self.loss);
        set(&mut link.reorder, self.reorder);
        set(&mut link.reorder_by, self.reorder_by);
        set(&mut link.duplicate, self.duplicate);
        set(&mut link.corrupt, self.corrupt);
        if let Some(bits) = self.rate {
            link.rate = (bits > 0).then(|| Rate::bits(bits, self.queue.unwrap_or(QUEUE_BYTES)));
        }
    }
}

fn tell(fact: &Fact) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(fact)?)?;
    Ok(stdout.flush()?)
}
