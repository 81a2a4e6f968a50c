//! Rten: the engine in pure Rust, always there.
//!
//! One thread a session: on a busy box two threads of one session wait for each other, two sessions do not.

use super::{Engine, Session, Tensor};
use crate::{Refusal, onnx, weights};
use protocol::model::ModelSpec;
use rten::{Dimension, Model, NodeId, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::sync::Arc;

/// Pictures in one run. A processor gains nothing from more, and each costs the memory of its activations.
const ITEMS_MAX: usize = 8;

pub struct Rten;

struct RtenSession {
    model: Model,
    input: NodeId,
    output: NodeId,
    threads: Arc<ThreadPool>,
    items_max: usize,
}

impl Engine for Rten {
    fn load(&self, spec: &ModelSpec) -> Result<Box<dyn Session>, Refusal> {
        let path = &spec.path;
        let unreadable = |error: String| {
            Refusal(format!(
                "{path} is no ONNX model that rten can read: {error}; export it as ONNX with float32 weights"
            ))
        };
        let file = weights::read(spec)?;
        onnx::check(&file).map_err(unreadable)?;
        let model = Model::load(file).map_err(|error| unreadable(error.to_string()))?;
        let (&[input], &[output]) = (model.input_ids(), model.output_ids()) else {
            let (inputs, outputs) = (model.input_ids().len(), model.output_ids().len());
            let way_out = "export it with one of each";
            return Err(Refusal(format!("{path} has {inputs} inputs and {outputs} outputs; {way_out}")));
        };
        let items_max = match model.input_shape(0).as_deref() {
            Some([Dimension::Fixed(1), ..]) => 1,
            Some([Dimension::Fixed(items), ..]) => {
                let way_out = "export it with a batch of 1 or a symbolic one";
                return Err(Refusal(format!("{path} takes batches of {items} alone; {way_out}")));
            }
            _ => ITEMS_MAX,
        };
        let threads = Arc::new(ThreadPool::with_num_threads(1));
        Ok(Box::new(RtenSession { model, input, output, threads, items_max }))
    }
}

impl Session for RtenSession {
    fn name(&self) -> String {
        "rten".to_owned()
    }

    /// Measured: 20.9 ms a picture alone, 24.7 ms in a batch of eight.
    fn batch_preferred(&self) -> usize {
        1
    }

    fn batch_max(&self) -> usize {
        self.items_max
    }

    fn infer(&mut self, batch: Tensor) -> Result<Tensor, String> {
        let &[items, channels, height, width] = &batch.shape[..] else {
            return Err(format!("a batch has four dimensions, not {:?}", batch.shape));
        };
        let input = NdTensor::from_data([items, channels, height, width], batch.data);
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        let [output] = self
            .model
            .run_n(vec![(self.input, input.into())], [self.output], Some(options))
            .map_err(|error| error.to_string())?;
        let output: rten_tensor::Tensor<f32> = output.try_into().map_err(|_| "its output is not float32".to_owned())?;
        Ok(Tensor { shape: output.shape().to_vec(), data: output.into_data() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yolox::tests::spec;
    use sha2::{Digest, Sha256};

    #[test]
    fn what_is_no_onnx_is_refused_by_its_path() {
        let folder = tempfile::tempdir().expect("a place for one file");
        let path = folder.path().join("not.onnx");
        for bytes in [&b""[..], b"<html>404 Not Found</html>", &[0xFF; 64]] {
            std::fs::write(&path, bytes).expect("room for a few bytes");
            let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            let spec = ModelSpec { path: path.display().to_string(), sha256, ..spec() };
            let refusal = Rten.load(&spec).err().expect("no model").to_string();
            assert!(refusal.contains("not.onnx") && refusal.contains("export it"), "{refusal}");
        }
    }
}
