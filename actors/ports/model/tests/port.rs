//! The program itself, as a node starts it: orders in, reports out, and how it ends.

use protocol::codec::{self, Blob};
use protocol::limits::PORT_MESSAGE_BYTES_MAX;
use protocol::model::{EngineKind, MockCost, ModelOrder, ModelReport, ModelSpec, Picture};
use std::path::Path;
use std::time::Duration;
use supervision::{Failure, Place, Port, PortSpec};

async fn spawn() -> Port {
    spawn_with(None).await
}

async fn spawn_with(progress_within: Option<Duration>) -> Port {
    let mut spec = PortSpec::new(env!("CARGO_BIN_EXE_watchtree-model-port"), PORT_MESSAGE_BYTES_MAX);
    spec.progress_within = progress_within;
    // On a busy machine a healthy port may be silent for long.
    spec.beat_within = Duration::from_secs(20);
    Port::spawn(&spec, &Place::detached("test")).await.expect("the port starts")
}

async fn ask(port: &mut Port, order: ModelOrder) -> ModelReport {
    port.send(&codec::encode(&order)).await.expect("the port listens");
    let report = port.recv().await.expect("the port lives").expect("the port answers");
    codec::decode::<_, PORT_MESSAGE_BYTES_MAX>(&report).expect("a report")
}

fn load(change: impl FnOnce(&mut ModelSpec)) -> ModelOrder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config/models");
    let text = std::fs::read_to_string(folder.join("squares.toml")).expect("the project has it");
    let mut spec: ModelSpec = toml::from_str(&text).expect("it is a model's spec");
    spec.path = folder.join(&spec.path).display().to_string();
    change(&mut spec);
    ModelOrder::Load { spec, engine: EngineKind::Auto, mock: MockCost::default() }
}

fn grey() -> Picture {
    Picture::I420 { width: 64, height: 48, pixels: Blob(vec![128; 64 * 48 * 3 / 2]) }
}

#[tokio::test]
async fn a_loaded_model_judges_every_picture_of_every_batch() {
    let mut port = spawn().await;
    let ready = ModelReport::Ready { engine: "rten".to_owned(), batch_preferred: 1 };
    assert_eq!(ask(&mut port, load(|_| ())).await, ready);
    for batch in [7, 8] {
        let torn = Picture::Jpeg(Blob(vec![0xFF, 0xD8]));
        let report = ask(&mut port, ModelOrder::Judge { batch, pictures: vec![grey(), torn, grey()] }).await;
        let ModelReport::Judged { batch: answered, results } = report else { panic!("{report:?}") };
        assert_eq!(answered, batch);
        assert!(matches!(&results[..], [Ok(_), Err(_), Ok(_)]), "{results:?}");
    }
    port.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_refused_model_is_reported_and_the_port_ends() {
    let mut port = spawn().await;
    let report = ask(&mut port, load(|spec| spec.path = "/nowhere/lost.onnx".to_owned())).await;
    let ModelReport::Refused { reason } = report else { panic!("{report:?}") };
    assert!(reason.contains("/nowhere/lost.onnx") && reason.contains("correct `path`"), "{reason}");
    assert!(!matches!(port.recv().await, Ok(Some(_))), "nothing follows a refusal");
}

#[tokio::test]
async fn a_batch_that_takes_too_long_hangs_and_waiting_for_one_does_not() {
    let within = Duration::from_millis(500);
    let mut port = spawn_with(Some(within)).await;
    let ModelOrder::Load { spec, .. } = load(|_| ()) else { panic!("an order to load") };
    let mock = MockCost { fixed_ms: 20_000.0, item_ms: 0.0 };
    let ready = ask(&mut port, ModelOrder::Load { spec, engine: EngineKind::Mock, mock }).await;
    assert!(matches!(ready, ModelReport::Ready { .. }), "{ready:?}");
    let idle = tokio::time::timeout(within * 3, port.recv()).await;
    assert!(idle.is_err(), "{idle:?}");
    let batch = ModelOrder::Judge { batch: 1, pictures: vec![grey()] };
    port.send(&codec::encode(&batch)).await.expect("the port listens");
    let failure = port.recv().await.expect_err("it does not get on");
    assert_eq!(failure, Failure::hang("watchtree-model-port answers and does nothing for 500ms"));
}

#[tokio::test]
async fn pictures_before_a_model_end_the_port() {
    let mut port = spawn().await;
    let order = ModelOrder::Judge { batch: 1, pictures: vec![grey()] };
    port.send(&codec::encode(&order)).await.expect("the port listens");
    assert!(port.recv().await.is_err(), "a node must not take this for an answer");
}
