//! The demo: a site on one machine, followed in the terminal.
//!
//!   test camera ──RTSP──▶ yard (edge) ──frames──▶ engine (gpu)
//!   footage, if found ──▶      └──events──▶ hub (relay) ──follow──▶ a line each, and a summary
//!
//! Everything is in one directory and dies with this program; whoever made the directory removes it.

use crate::harness::assets::{self, Assets};
use crate::harness::{CameraServer, Cluster, Plan, operator::Following};
use anyhow::{Context, Result, bail};
use protocol::admin::RecordedEvent;
use protocol::{EventId, Evidence, Phase};
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

const SEED: u64 = 1;
/// How often it is looked whether everybody lives.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines of a log that are shown when its writer died.
const TAIL_LINES: usize = 10;

pub struct Demo {
    /// Everything that is written goes here.
    pub dir: PathBuf,
    /// `None`: until Ctrl-C.
    pub seconds: Option<u64>,
    /// Ends when one of these processes ends.
    pub tied_to: Vec<u32>,
}

/// The last line on stdout.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub events: usize,
    /// Of these, how many the gpu process labelled.
    pub labelled: usize,
    pub labels: BTreeMap<String, usize>,
    pub cameras: usize,
    pub seconds: u64,
    pub ok: bool,
}

/// Where the demo's pictures come from.
struct Footage {
    cameras: Vec<(&'static str, CameraServer)>,
    assets: Option<Assets>,
}

impl Demo {
    /// Returns the summary when its time is over or Ctrl-C was pressed; an error if anybody died.
    pub async fn run(&self) -> Result<Summary> {
        let mut ends = Ends::new(&self.tied_to)?;
        let mut footage = tokio::select! {
            footage = Footage::start(&self.dir) => footage?,
            why = ends.come() => bail!("{why}"),
        };
        let mut site = plan(&self.dir, &footage).start();
        let mut counts = Counts::default();
        let shown = tokio::select! {
            shown = self.watch(&mut site, &mut footage, &mut counts) => shown,
            why = ends.come() => {
                println!("\n{why}");
                Ok(())
            }
        };
        if shown.is_ok() {
            println!("stopping the nodes");
            site.stop().await;
        }
        shown.map(|()| counts.summary(footage.cameras.len()))
    }

    async fn watch(&self, site: &mut Cluster, footage: &mut Footage, counts: &mut Counts) -> Result<()> {
        ready(site, footage).await?;
        say_how_to_look(site);
        let mut news = site.operator().follow().await.map_err(anyhow::Error::msg)?;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            if self.seconds.is_some_and(|seconds| counts.began.elapsed() >= Duration::from_secs(seconds)) {
                return Ok(());
            }
            tokio::select! {
                _ = look.tick() => check_alive(site, footage)?,
                event = next(&mut news) => match event {
                    Ok(event) => {
                        // Updates come each second and say little to somebody who watches.
                        if event.event.phase != Phase::Update {
                            println!("{}", line(&event));
                        }
                        counts.add(&event);
                    }
                    // Its end on the screen is more telling than the stream's.
                    Err(error) => {
                        tokio::time::sleep(LOOK_EVERY).await;
                        check_alive(site, footage)?;
                        return Err(error);
                    }
                },
            }
        }
    }
}

async fn next(news: &mut Following) -> Result<RecordedEvent> {
    news.next().await.map_err(anyhow::Error::msg).context("following the relay's events")
}

impl Footage {
    async fn start(dir: &Path) -> Result<Self> {
        println!("starting the test camera: coloured squares, by RTSP");
        let mut cameras =
            vec![("front-door", start(dir, "front-door", &["--scene", "squares", "--gop-s", "1"]).await?)];
        let assets = match assets::find() {
            Ok(assets) => {
                println!("starting a second camera: {} in a loop", assets.walkway.display());
                let file = assets.walkway.display().to_string();
                cameras.push(("walkway", start(dir, "walkway", &["--file", &file]).await?));
                Some(assets)
            }
            Err(missing) => {
                println!("no second camera with people and yolox-nano: {missing}");
                None
            }
        };
        Ok(Self { cameras, assets })
    }
}

async fn start(dir: &Path, id: &str, arguments: &[&str]) -> Result<CameraServer> {
    let started = CameraServer::start_logged(arguments, &dir.join(format!("{id}.log"))).await;
    started.map_err(|why| anyhow::anyhow!("{why}\n{}", log_tail(dir, id)))
}

/// The end of a test camera's log.
fn log_tail(dir: &Path, id: &str) -> String {
    let log = std::fs::read_to_string(dir.join(format!("{id}.log"))).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn plan(dir: &Path, footage: &Footage) -> Plan {
    let mut plan = Plan::in_dir(SEED, dir).relay("hub");
    plan = match &footage.assets {
        Some(assets) => plan.gpu("engine", &["squares", "yolox-nano"]).environment(
            "engine",
            "WATCHTREE_MODELS",
            &assets.models.display().to_string(),
        ),
        None => plan.gpu("engine", &["squares"]),
    };
    plan = plan.edge("yard").set("yard", "node.log_level", "info");
    for (index, (id, camera)) in footage.cameras.iter().enumerate() {
        let model = if *id == "walkway" { "yolox-nano" } else { "squares" };
        plan = plan.camera("yard", id, camera.url()).set("yard", &format!("cameras.{index}.model"), model);
    }
    plan
}

/// Waits until everybody is ready, and says who is.
async fn ready(site: &mut Cluster, footage: &mut Footage) -> Result<()> {
    let names: Vec<String> = site.nodes().iter().map(|node| node.name.clone()).collect();
    for name in names {
        let began = Instant::now();
        loop {
            check_alive(site, footage)?;
            let node = site.node(&name);
            let (role, http) = (node.role, node.http);
            match crate::harness::http::get(http, "/health/ready").await {
                Ok(answer) if answer.status == 200 => {
                    println!("{name:8} {role:6} ready   http://{http}/health/deep  /metrics  /api/v1/tree");
                    break;
                }
                Ok(answer) if began.elapsed() > crate::harness::READY_WITHIN => {
                    bail!("{name} is not ready: {}\n{}", answer.body, node.log_tail(TAIL_LINES));
                }
                Err(error) if began.elapsed() > crate::harness::READY_WITHIN => {
                    bail!("{name} is not ready: {error}\n{}", node.log_tail(TAIL_LINES));
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
    Ok(())
}

fn say_how_to_look(site: &Cluster) {
    let (dir, hub) = (site.dir().display(), site.node("hub"));
    let watchtree = crate::harness::programs::path("watchtree");
    println!("\nto look closer, in another terminal:");
    println!("  export WATCHTREE_CONNECT=127.0.0.1:{}", hub.quic_port.unwrap_or_default());
    println!("  export WATCHTREE_CA={dir}/ca/ca.pem WATCHTREE_CERT={dir}/tls-ca-operator/operator.pem \\");
    println!("         WATCHTREE_KEY={dir}/tls-ca-operator/operator.key");
    println!("  {} tree", watchtree.display());
    println!("\nevents on hub's record:");
}

fn check_alive(site: &mut Cluster, footage: &mut Footage) -> Result<()> {
    if let Some(death) = site.death() {
        bail!("{death}\nthe demo ends, because a node died");
    }
    let dir = site.dir().to_owned();
    for (id, camera) in &mut footage.cameras {
        if let Some(status) = camera.ended() {
            let tail = log_tail(&dir, id);
            bail!("the test camera of {id} ended: {status}\n{tail}\nthe demo ends, because a camera died");
        }
    }
    Ok(())
}

/// `18:30:02.117 front-door  start   red  97 %  judged by squares on engine`
fn line(RecordedEvent { event, .. }: &RecordedEvent) -> String {
    let time = event.end.to_string();
    let time = time.split_once('T').map_or(time.as_str(), |(_, time)| time);
    let phase = match event.phase {
        Phase::Start => "start",
        Phase::Update => "update",
        Phase::End => "end",
    };
    let judge = match &event.evidence {
        Evidence::Model { model, node } => format!("judged by {model} on {node}"),
        Evidence::Motion => "motion alone".to_owned(),
        Evidence::Blind { reason } => format!("nobody looks: {reason}"),
        Evidence::Dropped { entries, .. } => format!("{entries} entries given up: the outbox was full"),
    };
    let percent = event.score * 100.0;
    let why = event.reason.map(|reason| format!(", {reason:?}").to_lowercase()).unwrap_or_default();
    let lasted_s = event.end.since(event.begin).as_secs_f32();
    format!(
        "{time:.12} {:12} {phase:6} {:10} {percent:3.0} %  {judge}, {lasted_s:.1} s{why}",
        event.camera.as_str(),
        event.label
    )
}

/// Counts each event once, however many revisions it has.
struct Counts {
    began: Instant,
    events: BTreeSet<EventId>,
    labelled: BTreeMap<EventId, String>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { began: Instant::now(), events: BTreeSet::new(), labelled: BTreeMap::new() }
    }
}

impl Counts {
    fn add(&mut self, RecordedEvent { event, .. }: &RecordedEvent) {
        if event.tells_of_coverage() {
            return;
        }
        self.events.insert(event.id);
        if matches!(event.evidence, Evidence::Model { .. }) {
            self.labelled.insert(event.id, event.label.clone());
        }
    }

    fn summary(&self, cameras: usize) -> Summary {
        let mut labels = BTreeMap::new();
        for label in self.labelled.values() {
            *labels.entry(label.clone()).or_default() += 1;
        }
        let (events, labelled) = (self.events.len(), self.labelled.len());
        let ok = labelled > 0;
        Summary { events, labelled, labels, cameras, seconds: self.began.elapsed().as_secs(), ok }
    }
}

/// What ends the demo from outside.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    tied_to: Vec<Pid>,
}

impl Ends {
    fn new(tied_to: &[u32]) -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            tied_to: tied_to.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())).collect(),
        })
    }

    async fn come(&mut self) -> &'static str {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return "Ctrl-C: stopping",
                _ = self.terminate.recv() => return "told to stop",
                _ = self.hangup.recv() => return "the terminal is gone: stopping",
                _ = look.tick() => {
                    if self.tied_to.iter().any(|pid| test_kill_process(*pid).is_err()) {
                        return "whoever started the demo is gone: stopping";
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Epoch, Event, Timestamp};

    fn event(id: u128, phase: Phase, evidence: Evidence) -> RecordedEvent {
        let begin = Timestamp::from_micros(1_700_000_000_000_000);
        let event = Event {
            id: EventId(id),
            camera: "front-door".parse().expect("a name"),
            phase,
            revision: 0,
            label: "red".to_owned(),
            evidence,
            score: 0.97,
            top_score: 0.97,
            area: [0.0; 4],
            begin,
            end: begin.plus(Duration::from_millis(1500)),
            reason: None,
            zones: Vec::new(),
            has_clip: false,
            has_snapshot: false,
        };
        RecordedEvent {
            tenant: Default::default(),
            edge: "yard".parse().expect("a name"),
            epoch: Epoch(1),
            seq: 1,
            event,
        }
    }

    fn model() -> Evidence {
        Evidence::Model { model: "squares".to_owned(), node: "engine".to_owned() }
    }

    #[test]
    fn an_event_counts_once_and_motion_is_not_labelled() {
        let mut counts = Counts::default();
        counts.add(&event(1, Phase::Start, model()));
        counts.add(&event(1, Phase::End, model()));
        counts.add(&event(2, Phase::Start, Evidence::Motion));
        let summary = counts.summary(1);
        assert_eq!((summary.events, summary.labelled, summary.labels["red"]), (2, 1, 1));
    }

    #[test]
    fn a_line_says_when_where_what_and_who_says_so() {
        let line = line(&event(1, Phase::Start, model()));
        assert!(line.starts_with("22:13:21.5") && line.ends_with("judged by squares on engine, 1.5 s"), "{line}");
    }
}
