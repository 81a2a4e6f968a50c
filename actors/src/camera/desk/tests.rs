//! What a change does to the overlay, to the cameras and to what is told.

use super::*;
use std::time::Duration;
use supervision::{Intensity, Roll, Root, Strategy, Tree, service};
use tempfile::TempDir;

const EDGE: &str = "[node]\nrole = \"edge\"\ndata_dir = \"data\"\n[tls]\nca = \"ca.pem\"\ncert = \"a.pem\"\nkey = \"a.key\"\n\
                    [link]\nrelay = \"10.0.0.2:7443\"\n\
                    [[cameras]]\nid = \"door\"\nurl = \"test:ball\"\n[[cameras]]\nid = \"gate\"\nurl = \"test:ball\"\n";

/// A desk whose changes are written down; those of cameras named here fail.
struct Office {
    dir: TempDir,
    desk: Desk,
    done: Arc<Mutex<Vec<String>>>,
    root: Root,
}

impl Office {
    async fn open(failing: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("data")).expect("made");
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, EDGE).expect("written");
        let plan = Plan::read(&file).unwrap_or_else(|faults| panic!("{faults}"));
        let desk = Desk::new(plan, Coverages::default(), Arc::new(|_| None));
        let done: Arc<Mutex<Vec<String>>> = Arc::default();
        let apply: Apply = {
            let done = done.clone();
            Arc::new(move |change, _| {
                let text = told::change(&change);
                let fails = failing.iter().any(|camera| text.contains(camera));
                done.lock().expect("nobody panics").push(text);
                Box::pin(async move { if fails { Err("no".to_owned()) } else { Ok(()) } })
            })
        };
        let service = {
            let desk = desk.clone();
            service("desk", move |cx| desk.clone().run(apply.clone(), cx))
        };
        let intensity = Intensity { restarts: 0, within: Duration::from_secs(1) };
        let tree = Tree { name: "yard".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![service] };
        let root = Root::start(tree, Roll::default()).await.expect("it starts");
        Self { dir, desk, done, root }
    }

    async fn set(&self, camera: &str, toml: &str) -> Result<String, String> {
        let change = CameraChange::Set { toml: toml.to_owned() };
        self.change(camera, change).await
    }

    async fn change(&self, camera: &str, change: CameraChange) -> Result<String, String> {
        let camera = camera.parse().expect("a name");
        self.desk.change(Some(camera), change).await.map(|steered| steered.text)
    }

    fn overlay(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join("data/overlay.toml")).ok()
    }

    fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.done.lock().expect("nobody panics"))
    }

    fn states(&self) -> String {
        let sheets = self.desk.sheets(None).expect("all are meant");
        sheets.iter().map(|sheet| format!("{} {}", sheet.camera, sheet.state)).collect::<Vec<_>>().join(", ")
    }
}

#[tokio::test]
async fn a_change_is_on_disk_applied_and_told() {
    let office = Office::open(&[]).await;
    assert_eq!(office.set("door", "labels = [\"person\"]").await, Ok("tracking of door starts anew".to_owned()));
    assert_eq!(office.done(), ["tracking of door starts anew"]);
    assert!(office.overlay().expect("it is written").contains("labels = [\"person\"]"));
    let twice = office.set("door", "frames_per_s = 2").await.expect("it is right");
    assert_eq!(twice, "watch and session of door start anew");
    assert_eq!(office.set("door", "frames_per_s = 2").await, Ok("nothing is to be done for it".to_owned()));
    let remove = CameraChange::Remove { keys: Vec::new() };
    assert_eq!(office.change("gate", remove).await, Ok("gate is closed".to_owned()));
    assert_eq!(office.states(), "door blind, gate removed");
    office.root.stop().await;
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing_and_says_why() {
    let office = Office::open(&[]).await;
    let why = office.set("door", "frames_per_s = 99\npriority = \"urgent\"").await.expect_err("it is wrong");
    assert!(why.contains("cameras.door.frames_per_s is 99") && why.contains("cameras.door.priority"), "{why}");
    std::fs::remove_dir(office.dir.path().join("data")).expect("it is empty");
    let why = office.set("door", "priority = \"high\"").await.expect_err("there is no place for it");
    assert!(why.starts_with("nothing was changed: ") && why.contains("overlay.toml cannot be written"), "{why}");
    assert!(office.done().is_empty() && office.overlay().is_none());
    assert_eq!(office.desk.now().plan.changed_keys(&"door".parse().expect("a name")), [""; 0]);
    let nobody = office.desk.sheets(Some(&"dor".parse().expect("a name"))).expect_err("a slip");
    assert_eq!(nobody, "there is no camera dor; there are: door, gate");
    office.root.stop().await;
}

#[tokio::test]
async fn a_camera_that_did_not_open_is_tried_again_with_the_next_change() {
    let office = Office::open(&["barn"]).await;
    let told = office.set("barn", "url = \"test:ball\"").await.expect("it is kept");
    assert_eq!(told, "barn is opened, and that failed: no");
    assert_eq!(office.done(), ["barn is opened"]);
    office.set("door", "labels = [\"person\"]").await.expect("it is right");
    assert_eq!(office.done(), ["tracking of door starts anew", "barn is opened"]);
    office.root.stop().await;
}

#[tokio::test]
async fn a_second_desk_starts_with_what_the_first_one_kept() {
    let office = Office::open(&[]).await;
    office.set("door", "enabled = false").await.expect("it is right");
    let plan = Plan::read(&office.dir.path().join("edge.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(!plan.edge.cameras[0].enabled);
    assert_eq!(office.states(), "door disabled, gate blind");
    office.root.stop().await;
}
