//! A call over a slow link, with nothing beside it and behind a clip that fills the link, in turns.

use super::far::Far;
use super::figures::Summary;
use super::near::Edge;
use super::summary;
use actors::fabric::clips::{Clip, Clips, Opening, Source};
use protocol::EventId;
use std::path::Path;
use std::time::Duration;
use tests::impairment::{Conditions, Impairment, Proxy, Rate};

pub const MBIT_PER_S: u64 = 100;
pub const ONE_WAY_MS: u64 = 5;
pub const QUEUE_BYTES: u64 = 256 * 1024;

const SEED: u64 = 4;
const TURNS: usize = 6;
/// Calls in one turn, each way of it.
const TURN: usize = 400;
/// For a window to grow.
const SETTLES_CALLS: usize = 60;

/// Milliseconds.
pub struct Took {
    pub idle: Summary,
    pub bulk: Summary,
    pub clip_mbit_per_s: f64,
}

/// As long as a clip can be, of zeros.
struct Endless;

impl Source for Endless {
    fn open(&self, _clip: EventId, _offset: u64) -> Opening<'_> {
        Box::pin(async { Ok(Clip { bytes: 1 << 40, reader: Box::pin(tokio::io::repeat(0)) }) })
    }
}

pub async fn measure(dir: &Path, far: &Far) -> Result<Took, String> {
    println!("bulk: {TURNS} turns of {TURN} calls over {MBIT_PER_S} Mbit/s, idle and behind a clip");
    let rate = Some(Rate::mbit(MBIT_PER_S, QUEUE_BYTES));
    let one_way = Impairment { rate, ..Impairment::delay(Duration::from_millis(ONE_WAY_MS)) };
    let relay = ([127, 0, 0, 1], far.relay_port).into();
    let proxy = Proxy::start(relay, Conditions::from(one_way), SEED).map_err(|error| error.to_string())?;
    let edge = Edge::start(dir, proxy.addr().port(), Clips::of(Endless)).await?;
    let (mut idle, mut bulk, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=TURNS {
        let now = edge.call(TURN).await?;
        far.clip_begins()?;
        edge.call(SETTLES_CALLS).await?;
        let before = far.clip_taken()?;
        let behind = edge.call(TURN).await?;
        let after = far.clip_taken()?;
        far.clip_ends()?;
        // The first only warms up.
        if turn > 0 {
            idle.extend(now.into_iter().map(|us| us / 1e3));
            bulk.extend(behind.into_iter().map(|us| us / 1e3));
            rates.push((after.bytes - before.bytes) as f64 * 8.0 / (after.us - before.us) as f64);
        }
    }
    edge.stop().await;
    Ok(Took { idle: summary(idle)?, bulk: summary(bulk)?, clip_mbit_per_s: super::middle(rates) })
}
