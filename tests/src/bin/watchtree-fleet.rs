//! `watchtree-fleet`: many simulated edges against a relay, with a line of figures now and then.
//!
//! They dial with certificates that it issues itself, by the CA of a site that is made for such trials.

use anyhow::{Result, anyhow};
use clap::Parser;
use protocol::transport::TlsFiles;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tests::fleet::{Certificates, Fleet, Settings};
use tests::harness::{Operator, process};

#[derive(Debug, Parser)]
#[command(version, about = "Simulates many edges: their links, events, telemetry and clips")]
struct Args {
    #[arg(long, default_value_t = 1000)]
    edges: usize,
    /// Host and port
    #[arg(long, value_parser = host_and_port)]
    relay: (String, u16),
    /// The directory with ca.pem, and with ca.key unless the edges join
    #[arg(long)]
    ca: PathBuf,
    /// Each edge joins with a token, which the operator with this certificate makes for it; a day's certificates follow
    #[arg(long, value_name = "CERT", requires = "key")]
    join: Option<PathBuf>,
    /// The key to the operator's certificate
    #[arg(long)]
    key: Option<PathBuf>,
    /// Of each edge
    #[arg(long, default_value_t = 1.0)]
    events_per_s: f64,
    /// What the edges are called, before their number
    #[arg(long, default_value = "edge")]
    prefix: String,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after so long, when all is acknowledged; else at Ctrl-C
    #[arg(long)]
    seconds: Option<u64>,
    /// Seconds from one line of figures to the next
    #[arg(long, default_value_t = 5)]
    every_s: u64,
    /// Tell what this process takes too: the relay's, if it runs on this machine
    #[arg(long)]
    relay_pid: Option<u32>,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parts.ok_or_else(|| format!("`{text}` is not HOST:PORT"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let certificates = certificates(&args).map_err(|why| anyhow!(why))?;
    let Args { edges, relay, events_per_s, prefix, seed, .. } = args;
    let settings = Settings { edges, prefix, relay, certificates, events_per_s, seed };
    let fleet = Fleet::start(settings).await.map_err(|why| anyhow!(why))?;
    let (began, mut figures) = (Instant::now(), Figures::new(args.relay_pid));
    let mut tick = tokio::time::interval(Duration::from_secs(args.every_s.max(1)));
    tick.tick().await;
    let until = args.seconds.map(|seconds| began + Duration::from_secs(seconds));
    while until.is_none_or(|until| Instant::now() < until) {
        tokio::select! {
            _ = tick.tick() => println!("{:6.1} s  {}", began.elapsed().as_secs_f64(), figures.line(&fleet)),
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    fleet.rest();
    while fleet.unsettled() > 0 {
        tokio::select! {
            _ = tick.tick() => println!("{} edges still have something to tell", fleet.unsettled()),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    let (accepted, acked) = fleet.entries();
    let faults = fleet.faults();
    println!("{accepted} events accepted, {acked} acknowledged, {} faults", faults.len());
    faults.iter().for_each(|fault| println!("{fault}"));
    fleet.leave().await;
    if faults.is_empty() { Ok(()) } else { Err(anyhow!("the relay did what none may do")) }
}

fn certificates(args: &Args) -> Result<Certificates, String> {
    let (Some(cert), Some(key)) = (args.join.clone(), args.key.clone()) else {
        return Ok(Certificates::Issued(args.ca.clone()));
    };
    let files = TlsFiles { ca: args.ca.join("ca.pem"), cert, key };
    Ok(Certificates::Joined(Arc::new(Operator::with(&files, &args.relay.0, args.relay.1)?)))
}

/// What has happened since the line before.
struct Figures {
    relay: Option<u32>,
    at: Instant,
    acked: u64,
    cpu: [Duration; 2],
}

impl Figures {
    fn new(relay: Option<u32>) -> Self {
        Self { relay, at: Instant::now(), acked: 0, cpu: [Duration::ZERO; 2] }
    }

    fn line(&mut self, fleet: &Fleet) -> String {
        let (accepted, acked) = fleet.entries();
        let span = self.at.elapsed().as_secs_f64();
        let mut waits = fleet.waits().take();
        waits.sort_by(f32::total_cmp);
        let at = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
        let ms = |percent| at(percent).map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let mut line = format!(
            "{} linked, {:.0} acks/s, {} wait, ack ms p50 {} p99 {}",
            fleet.linked(),
            (acked - self.acked) as f64 / span,
            accepted - acked,
            ms(50),
            ms(99)
        );
        let pids = [Some(std::process::id()), self.relay];
        for ((pid, before), who) in pids.into_iter().zip(&mut self.cpu).zip(["fleet", "relay"]) {
            let Some(pid) = pid else { continue };
            match (process::cpu_time(pid), process::rss_kib(pid)) {
                (Ok(cpu), Ok(rss)) => {
                    let percent = (cpu.saturating_sub(*before)).as_secs_f64() / span * 100.0;
                    line += &format!(", {who} {percent:.1} % CPU {} MiB", rss / 1024);
                    *before = cpu;
                }
                (Err(why), _) | (_, Err(why)) => line += &format!(", {who}: {why}"),
            }
        }
        (self.at, self.acked) = (Instant::now(), acked);
        line
    }
}
