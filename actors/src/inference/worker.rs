//! Worker: one model in one port; takes batches from its pool, one at a time.
//!
//!   pool ──batch──▶ [worker] ──judge──▶ model port (process)
//!   asker ◀──outcome── [worker] ◀──judged──┘
//!
//! Stops when: the port crashes, hangs, refuses the model, or judges nothing any more. The frames in hand fail with
//! it; those that wait in the pool do not. On restart: the model is loaded again.

use super::pool::{Job, Pool};
use protocol::codec::Blob;
use protocol::model::{EngineKind, MockCost, ModelOrder, ModelReport, ModelSpec, Picture};
use protocol::{Detection, Outcome, codec, limits};
use std::time::Duration;
use supervision::{Failure, Place, Port, PortSpec, ServiceCx};
use tokio::time::{Instant, timeout};
use tracing::info;

/// Pictures of one order, in bytes. More go with the next order: a port refuses a message that is too
/// long, and what is left of [`limits::PORT_MESSAGE_BYTES_MAX`] is for the order around them.
const ORDER_BYTES_MAX: usize = limits::FRAME_BYTES_MAX + 32 * 1024;
/// More than what stands around one picture's pixels.
const PICTURE_HEAD_BYTES: usize = 32;

/// From the order to load to the port's answer.
const LOAD_WITHIN: Duration = Duration::from_secs(60);
/// A batch that takes longer hangs: no model here needs a tenth of it.
const JUDGE_WITHIN: Duration = Duration::from_secs(10);
const STOP_WITHIN: Duration = Duration::from_secs(1);
/// Batches in a row of which no picture could be judged, before the engine is asked about a picture of our own.
const FAILED_BATCHES_MAX: u32 = 3;

/// Luma and chroma of a picture on which there is nothing.
const GREY: u8 = 128;

#[derive(Clone)]
pub struct Worker {
    pub pool: Pool,
    pub port: PortSpec,
    pub spec: ModelSpec,
    pub engine: EngineKind,
    pub mock: MockCost,
}

impl Worker {
    pub async fn run(self, cx: ServiceCx) -> Result<(), Failure> {
        let run = self.work(&cx).await;
        if let Err(failure) = &run {
            self.pool.not_ready(failure.to_string());
        }
        run
    }

    async fn work(&self, cx: &ServiceCx) -> Result<(), Failure> {
        // Loading and judging have limits of their own, longer than the watchdog's.
        let loading = LoadedModel::load(&self.port, &self.spec, self.engine, self.mock, &cx.place);
        let mut model = cx.waits(loading).await?;
        info!(model = self.spec.name, engine = model.engine, "model is ready");
        cx.place.note(format!("{} on {}", self.spec.name, model.engine));
        let _ready = self.pool.ready();
        let mut failed = FailedInARow::default();
        loop {
            tokio::select! {
                jobs = self.pool.take() => {
                    cx.waits(self.judge_all(&mut model, jobs, &mut failed)).await?;
                    if failed.are_too_many() {
                        cx.waits(model.proves_itself(&self.spec)).await?.map_err(Failure::error)?;
                    }
                }
                ended = model.idle() => return Err(ended),
                () = cx.asked() => {}
                () = cx.stop.cancelled() => {
                    cx.waits(model.port.stop(STOP_WITHIN)).await;
                    return Ok(());
                }
            }
        }
    }

    /// In as many orders as it takes for each to fit one message.
    async fn judge_all(
        &self,
        model: &mut LoadedModel,
        mut jobs: Vec<Job>,
        failed: &mut FailedInARow,
    ) -> Result<(), Failure> {
        while !jobs.is_empty() {
            let sizes: Vec<usize> = jobs.iter().map(|job| job.pixels.len()).collect();
            let rest = jobs.split_off(fitting(&sizes));
            self.judge(model, jobs, failed).await?;
            jobs = rest;
        }
        Ok(())
    }

    async fn judge(
        &self,
        model: &mut LoadedModel,
        mut jobs: Vec<Job>,
        failed: &mut FailedInARow,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let pictures = jobs.iter_mut().map(picture).collect();
        let results = model.judge(pictures).await?;
        metrics::histogram!("watchtree_inference_batch_seconds", "model" => self.spec.name.clone())
            .record(began.elapsed().as_secs_f64());
        self.pool.judged_for(began.elapsed());
        failed.count(&results);
        for (job, result) in jobs.into_iter().zip(results) {
            job.answer(match result {
                Ok(detections) => Outcome::Ok { model: self.spec.name.clone(), detections },
                Err(reason) => Outcome::Failed { reason: limits::short_text(&reason) },
            });
        }
        Ok(())
    }
}

/// Batches without a judgement, until there is one. Whether the engine is to blame or the pictures, which come from
/// edges that we do not trust, is told by a picture of our own.
#[derive(Default)]
struct FailedInARow(u32);

impl FailedInARow {
    fn count(&mut self, results: &Results) {
        self.0 = if results.iter().any(Result::is_ok) { 0 } else { self.0 + 1 };
    }

    /// Asked once for each so many.
    fn are_too_many(&mut self) -> bool {
        let too_many = self.0 >= FAILED_BATCHES_MAX;
        if too_many {
            self.0 = 0;
        }
        too_many
    }
}

fn picture(job: &mut Job) -> Picture {
    let pixels = Blob(std::mem::take(&mut job.pixels));
    Picture::I420 { width: job.header.width, height: job.header.height, pixels }
}

/// How many of these pictures, of so many bytes each, go with one order: one at least.
fn fitting(sizes: &[usize]) -> usize {
    let mut bytes = 0;
    let fit = sizes.iter().take_while(|size| {
        bytes += **size + PICTURE_HEAD_BYTES;
        bytes <= ORDER_BYTES_MAX
    });
    fit.count().clamp(1, sizes.len().max(1))
}

/// A model port with its model loaded.
pub struct LoadedModel {
    port: Port,
    pub engine: String,
    batches: u64,
}

type Results = Vec<Result<Vec<Detection>, String>>;

impl LoadedModel {
    pub async fn load(
        port: &PortSpec,
        spec: &ModelSpec,
        engine: EngineKind,
        mock: MockCost,
        place: &Place,
    ) -> Result<Self, Failure> {
        let mut port = Port::spawn(port, place).await?;
        port.send(&codec::encode(&ModelOrder::Load { spec: spec.clone(), engine, mock })).await?;
        let report = timeout(LOAD_WITHIN, next_report(&mut port)).await;
        match report.map_err(|_| Failure::hang(format!("{} did not load within {LOAD_WITHIN:?}", spec.name)))?? {
            ModelReport::Ready { engine, .. } => Ok(Self { port, engine, batches: 0 }),
            ModelReport::Refused { reason } => Err(Failure::start(limits::short_text(&reason))),
            ModelReport::Judged { .. } => Err(Failure::protocol("the model port judged before it was ready")),
        }
    }

    /// One result a picture, in order.
    pub async fn judge(&mut self, pictures: Vec<Picture>) -> Result<Results, Failure> {
        self.batches += 1;
        let (batch, count) = (self.batches, pictures.len());
        self.port.send(&codec::encode(&ModelOrder::Judge { batch, pictures })).await?;
        let report = timeout(JUDGE_WITHIN, next_report(&mut self.port)).await;
        let late = |_| Failure::hang(format!("the model port did not answer a batch within {JUDGE_WITHIN:?}"));
        match report.map_err(late)?? {
            ModelReport::Judged { batch: answered, results } if answered == batch && results.len() == count => {
                Ok(results)
            }
            _ => Err(Failure::protocol("the model port answered another batch than it was asked")),
        }
    }

    /// Whether the engine judges a grey picture; the inner error is why not.
    async fn proves_itself(&mut self, spec: &ModelSpec) -> Result<Result<(), String>, Failure> {
        let (width, height) = (spec.input.width, spec.input.height);
        let bytes = protocol::frame::i420_bytes(width, height).map_err(Failure::error)?;
        let grey = Picture::I420 { width, height, pixels: Blob(vec![GREY; bytes]) };
        let judged = self.judge(vec![grey]).await?.pop().expect("as many results as pictures");
        Ok(judged.map(drop).map_err(|why| {
            let (name, why) = (&spec.name, limits::short_text(&why));
            format!("{name} judges nothing any more, not even a grey picture: {why}")
        }))
    }

    /// Watches the port while nothing is asked of it; whatever it says then is a failure.
    async fn idle(&mut self) -> Failure {
        match self.port.recv().await {
            Err(failure) => failure,
            Ok(Some(_)) => Failure::protocol("the model port spoke without being asked"),
            Ok(None) => Failure::error("the model port ended by itself"),
        }
    }

    pub async fn stop(self) {
        self.port.stop(STOP_WITHIN).await;
    }
}

async fn next_report(port: &mut Port) -> Result<ModelReport, Failure> {
    let Some(data) = port.recv().await? else { return Err(Failure::error("the model port ended by itself")) };
    codec::decode::<_, { limits::PORT_MESSAGE_BYTES_MAX }>(&data)
        .map_err(|error| Failure::protocol(format!("model port: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_bytes(sizes: &[usize]) -> usize {
        let picture = |bytes: &usize| Picture::I420 { width: 4096, height: 2160, pixels: Blob(vec![0; *bytes]) };
        codec::encode(&ModelOrder::Judge { batch: u64::MAX, pictures: sizes.iter().map(picture).collect() }).len()
    }

    #[test]
    fn an_engine_is_doubted_after_some_batches_of_which_nothing_was_judged() {
        let (none, some) = (vec![Err("no".to_owned()); 2], vec![Err("no".to_owned()), Ok(Vec::new())]);
        let mut failed = FailedInARow::default();
        let mut doubted = |batches: &[&Results]| {
            let doubted = batches.iter().map(|results| {
                failed.count(results);
                failed.are_too_many()
            });
            doubted.collect::<Vec<bool>>()
        };
        assert_eq!(doubted(&[&none, &none, &some, &none, &none, &none]), [false, false, false, false, false, true]);
        assert_eq!(doubted(&[&none, &none, &none]), [false, false, true], "and again after as many");
    }

    #[test]
    fn an_order_holds_what_fits_one_message_and_one_picture_at_least() {
        let frame = limits::FRAME_BYTES_MAX;
        assert_eq!(fitting(&[100, 100, 100]), 3);
        assert_eq!(fitting(&[frame, frame]), 1);
        assert_eq!(fitting(&[frame / 2, frame / 2, 100_000]), 2);
        assert_eq!(fitting(&[2 * frame, 1]), 1);
    }

    #[test]
    fn whatever_fits_is_a_message_that_the_port_takes() {
        for sizes in [vec![limits::FRAME_BYTES_MAX; 2], vec![6; 500_000], vec![1280 * 720 * 3 / 2; 64]] {
            let bytes = order_bytes(&sizes[..fitting(&sizes)]);
            assert!(bytes <= limits::PORT_MESSAGE_BYTES_MAX, "{bytes} B");
        }
    }
}
