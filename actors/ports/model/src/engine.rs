//! Engine: runs a model. What the numbers mean is decided outside.
//!
//!   ModelSpec ──load──▶ Session      [items, 3, height, width] ──infer──▶ [items, anchors, fields]
//!
//! Synchronous, one session a process; to use more cores a node starts more ports.

pub mod mock;
pub mod rten;

use crate::Refusal;
use crate::yolox::Head;
use protocol::model::{EngineKind, MockCost, ModelSpec};

/// A row-major array of float32.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

pub trait Engine {
    /// Reads the weights and makes ready to infer.
    fn load(&self, spec: &ModelSpec) -> Result<Box<dyn Session>, Refusal>;
}

pub trait Session: Send {
    /// As people read it in `watchtree tree` and in logs.
    fn name(&self) -> String;

    /// With how many pictures a batch is worth its wait.
    fn batch_preferred(&self) -> usize;

    /// More pictures than these are inferred in several turns.
    fn batch_max(&self) -> usize;

    /// An error says why this batch has no output; the next one may have.
    fn infer(&mut self, batch: Tensor) -> Result<Tensor, String>;
}

/// The engine that the node asks for, with the model loaded and its output tried against the head.
pub fn load(spec: &ModelSpec, head: &Head, kind: EngineKind, cost: MockCost) -> Result<Box<dyn Session>, Refusal> {
    match kind {
        // The one engine that is always there; faster ones go before it.
        EngineKind::Auto | EngineKind::Rten => {
            let mut session = rten::Rten.load(spec)?;
            // Two as well: some exports promise any batch and have a 1 baked in.
            for items in 1..=session.batch_max().min(2) {
                try_out(session.as_mut(), spec, head, items)?;
            }
            Ok(session)
        }
        EngineKind::Mock => mock::Mock { cost }.load(spec),
    }
}

/// Infers grey pictures: finds what the engine cannot run and what the head cannot read before a camera waits for it.
fn try_out(session: &mut dyn Session, spec: &ModelSpec, head: &Head, items: usize) -> Result<(), Refusal> {
    let input = &spec.input;
    let shape = vec![items, 3, input.height as usize, input.width as usize];
    let grey = f32::from(input.letterbox_fill) * input.scale;
    let data = vec![grey; shape.iter().product()];
    let output = session.infer(Tensor { shape, data }).map_err(|error| {
        let way_out = "export it for float32 NCHW pictures of the spec's `input`, in batches of 1 or of any size";
        Refusal(format!("{} does not run on a batch of {items}: {error}; {way_out}", spec.path))
    })?;
    let [anchors, fields] = head.shape();
    let expected = [items, anchors, fields];
    if output.shape != expected {
        let way_out = "correct `classes`, `input` or `head.yolox.strides` in its spec";
        let found = &output.shape;
        return Err(Refusal(format!("{} gives {found:?}, its spec means {expected:?}; {way_out}", spec.path)));
    }
    Ok(())
}
