//! Health names what is in the way: a model that judges nothing, a camera that somebody parked.

use protocol::Act;
use std::net::SocketAddr;
use std::time::Duration;
use tests::harness::programs::project;
use tests::harness::{CameraServer, Plan, http};

const SEED: u64 = 95;
const WITHIN: Duration = Duration::from_secs(60);

/// Not ready, and all of these words say why.
async fn is_not_ready(node: SocketAddr, words: &[&str]) -> Result<(), String> {
    let answer = http::get(node, "/health/ready").await?;
    let named = words.iter().all(|word| answer.body.contains(word));
    if answer.status == 503 && named { Ok(()) } else { Err(format!("{} {}", answer.status, answer.body)) }
}

#[tokio::test]
async fn a_model_that_its_spec_does_not_describe_is_parked_and_the_node_is_not_ready() {
    let plan = Plan::new(SEED).relay("hub");
    let models = project().join("config/models");
    let spec = std::fs::read_to_string(models.join("squares.toml")).expect("it is there");
    let wrong = spec.replace("strides = [8, 8, 8]", "strides = [8, 8, 16]");
    assert_ne!(wrong, spec, "the sample has other strides now");
    let path = plan.dir().join("squares.toml");
    std::fs::write(&path, wrong).expect("written");
    std::fs::copy(models.join("squares.onnx"), plan.dir().join("squares.onnx")).expect("copied");
    let plan = plan.gpu("engine", &["squares"]).set("engine", "models.0.spec", path.display().to_string());
    let mut site = plan.start();
    site.eventually("the node says that its model is parked, and why", WITHIN, async |site| {
        is_not_ready(site.node("engine").http, &["engine/workers/squares-0 is parked", "its spec means"]).await
    })
    .await;
}

#[tokio::test]
async fn a_camera_that_somebody_parked_is_blind_for_that_reason() {
    let camera = CameraServer::start(&["--gop-s", "0.5", "--objects", "3", "--lifetime-s", "3"]).await;
    let plan = Plan::new(SEED).relay("hub").edge("yard").camera("yard", "front-door", camera.url());
    let mut site = plan.start();
    site.ready().await;
    site.eventually("the camera is parked", WITHIN, async |site| {
        site.operator().steer("yard/cameras/front-door", Act::Park).await
    })
    .await;
    site.eventually("the edge says who parked its camera", WITHIN, async |site| {
        let why = ["coverage", "yard/cameras/front-door: parked by main/operator/operator"];
        is_not_ready(site.node("yard").http, &why).await
    })
    .await;
}
