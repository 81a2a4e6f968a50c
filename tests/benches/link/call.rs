//! Call, raw QUIC and NATS, in turns: what the machine does meanwhile happens to all three.

use super::far::Far;
use super::figures::Summary;
use super::near::Edge;
use super::{middle, nats, raw, summary};
use actors::fabric::clips::Clips;
use std::path::Path;

const TURNS: usize = 60;
/// Calls in one turn.
const TURN: usize = 200;
/// Not counted.
const WARM_UP_TURNS: usize = 3;

/// Microseconds.
pub struct Took {
    pub call: Summary,
    pub raw: Summary,
    pub nats: Summary,
    pub to_raw: f64,
    pub to_nats: f64,
}

pub async fn measure(dir: &Path, far: &Far, server: &nats::Server) -> Result<Took, String> {
    println!("call: {TURNS} turns of {TURN} calls, raw echoes and NATS requests ({})", server.version);
    let edge = Edge::start(dir, far.relay_port, Clips::default()).await?;
    let mut quic = raw::Client::connect(dir, far.raw_port).await?;
    let mut requester = nats::Requester::connect(server.port).await?;
    // On a thread of the runtime, as an actor's work is, and not on this one.
    let measuring = tokio::spawn(async move {
        let mut took = [Vec::new(), Vec::new(), Vec::new()];
        let (mut to_raw, mut to_nats) = (Vec::new(), Vec::new());
        for turn in 0..WARM_UP_TURNS + TURNS {
            let now = [edge.call(TURN).await?, quic.echo(TURN).await?, requester.request(TURN).await?];
            if turn < WARM_UP_TURNS {
                continue;
            }
            let [call, raw, nats] = [0, 1, 2].map(|nth: usize| middle(now[nth].clone()));
            to_raw.push(call / raw);
            to_nats.push(call / nats);
            took.iter_mut().zip(now).for_each(|(all, now)| all.extend(now));
        }
        edge.stop().await;
        let [call, raw, nats] = took;
        let (call, raw, nats) = (summary(call)?, summary(raw)?, summary(nats)?);
        Ok(Took { call, raw, nats, to_raw: middle(to_raw), to_nats: middle(to_nats) })
    });
    measuring.await.map_err(|error| error.to_string())?
}
