//! What the API changes of an edge's cameras lies over the file that the user wrote.

use super::EDGE;
use config::{Camera, Plan};
use protocol::CameraId;
use protocol::cameras::CameraChange;
use std::path::PathBuf;
use tempfile::TempDir;

/// An edge's file, and a second one beside it as the edge keeps it.
struct Site {
    dir: TempDir,
    plan: Plan,
}

fn id(id: &str) -> CameraId {
    id.parse().expect("a name")
}

fn set(toml: &str) -> CameraChange {
    CameraChange::Set { toml: toml.to_owned() }
}

fn remove(keys: &[&str]) -> CameraChange {
    CameraChange::Remove { keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

fn reset(keys: &[&str]) -> CameraChange {
    CameraChange::Reset { keys: keys.iter().map(|key| (*key).to_owned()).collect() }
}

impl Site {
    /// With a camera, the yard's, that has these keys.
    fn new(keys: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("edge.toml");
        std::fs::write(&file, format!("{EDGE}{keys}")).expect("written");
        std::fs::create_dir(dir.path().join("data")).expect("made");
        let plan = Plan::read(&file).unwrap_or_else(|faults| panic!("{faults}"));
        Self { dir, plan }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("edge.toml")
    }

    /// Kept on disk and read from there.
    fn change(&mut self, camera: &str, change: &CameraChange) -> Result<(), String> {
        self.plan = self.plan.changed(Some(&id(camera)), change).map_err(|faults| faults.to_string())?;
        let (file, text) = self.plan.overlay_file();
        std::fs::write(file, text).expect("written");
        let again = Plan::read(&self.file()).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(again.edge, self.plan.edge, "it is the same after a restart");
        Ok(())
    }

    fn done(&mut self, camera: &str, change: &CameraChange) {
        self.change(camera, change).unwrap_or_else(|why| panic!("{change:?}: {why}"));
    }

    #[track_caller]
    fn refused(&mut self, camera: &str, change: &CameraChange, why: &str) {
        let before = self.plan.edge.clone();
        let file = format!("{}: ", self.file().display());
        let told = self.change(camera, change).map_err(|told| told.strip_prefix(&file).unwrap_or(&told).to_owned());
        assert_eq!(told, Err(why.to_owned()));
        assert_eq!(self.plan.edge, before);
    }

    fn camera(&self, camera: &str) -> Option<&Camera> {
        self.plan.edge.cameras.iter().find(|there| there.id == id(camera))
    }

    fn yard(&self) -> &Camera {
        self.camera("yard").expect("it is there")
    }

    fn zones(&self) -> String {
        self.yard().zones.iter().map(|zone| zone.name.as_str()).collect::<Vec<_>>().join(" ")
    }
}

const ZONES: &str = "[[cameras.zones]]\nname = \"a\"\nline = [[0, 0], [1, 1]]\n\
                     [[cameras.zones]]\nname = \"b\"\nline = [[0, 0], [1, 1]]\n";

#[test]
fn a_key_counts_over_the_files_own_until_it_is_taken_back() {
    let mut site = Site::new("labels = [\"car\"]\npriority = \"low\"\n");
    let before = std::fs::read(site.file()).expect("readable");
    site.done("yard", &set("labels = [\"person\"]\nframes_per_s = 2"));
    assert_eq!((&site.yard().labels[..], site.yard().frames_per_s), (&["person".to_owned()][..], Some(2.0)));
    assert_eq!(site.plan.changed_keys(&id("yard")), ["frames_per_s", "labels"]);
    site.done("yard", &remove(&["priority"]));
    assert_eq!(site.yard().priority, protocol::Priority::Normal, "its default");
    site.done("yard", &reset(&["labels"]));
    assert_eq!((&site.yard().labels[..], site.yard().frames_per_s), (&["car".to_owned()][..], Some(2.0)));
    site.done("yard", &reset(&[]));
    assert_eq!((site.yard().priority, site.yard().frames_per_s), (protocol::Priority::Low, None));
    let nothing = "cameras.yard is as the edge's own file says; there is nothing to take back";
    site.refused("yard", &reset(&[]), nothing);
    assert_eq!(std::fs::read(site.file()).expect("readable"), before, "the user's file is his own");
}

#[test]
fn zones_are_changed_one_by_one() {
    let mut site = Site::new(ZONES);
    site.done("yard", &set("[[zones]]\nname = \"b\"\npolygon = [[0, 0], [1, 0], [1, 1]]\n[[zones]]\nname = \"c\"\nline = [[0, 0], [0, 1]]"));
    assert_eq!(site.zones(), "a b c");
    assert!(matches!(site.yard().zones[1].shape, config::watching::Shape::Area(_)));
    site.done("yard", &remove(&["zones.a", "zones.c"]));
    assert_eq!(site.zones(), "b");
    site.refused("yard", &remove(&["zones.gate"]), "cameras.yard.zones.gate is not there; there are: b");
    site.done("yard", &reset(&["zones.a"]));
    assert_eq!(site.zones(), "a b");
    site.done("yard", &reset(&["zones"]));
    assert!(matches!(site.yard().zones[1].shape, config::watching::Shape::Line { .. }));
    site.refused(
        "yard",
        &set("[[zones]]\nrequired = true"),
        "cameras.yard.zones is one without a name; write one section [[zones]] for each, with its name",
    );
}

#[test]
fn a_camera_is_added_removed_and_brought_back() {
    let mut site = Site::new("");
    site.refused(
        "barn",
        &set("priority = \"high\""),
        "cameras.barn is not there; `watchtree camera list` shows those that are; a new one needs its url",
    );
    site.refused("barn", &remove(&[]), "cameras.barn is not there; `watchtree camera list` shows those that are");
    site.done("barn", &set("url = \"test:ball\"\nid = \"barn\""));
    assert_eq!(site.camera("barn").map(|barn| barn.source_url.as_str()), Some("test:ball"));
    site.done("barn", &remove(&[]));
    assert!(site.camera("barn").is_none() && site.plan.removed.is_empty());
    site.done("yard", &remove(&[]));
    assert!(site.camera("yard").is_none());
    assert_eq!(site.plan.removed, [id("yard")]);
    site.done("yard", &reset(&[]));
    assert!(site.camera("yard").is_some() && site.plan.removed.is_empty());
    site.refused("yard", &remove(&["url"]), "cameras.yard.url is needed; set another, or remove the camera as a whole");
}

#[test]
fn a_fault_names_the_camera_its_key_and_the_way_out() {
    let mut site = Site::new("");
    let back = "(set through the API; `watchtree camera reset` takes it back)";
    site.refused(
        "yard",
        &set("frames_per_s = 99"),
        &format!("cameras.yard.frames_per_s is 99; use a number from 0.1 to 30 {back}"),
    );
    site.refused(
        "yard",
        &set("lables = []"),
        &format!("cameras.yard.lables is not a key that is known here; did you mean `labels`? {back}"),
    );
    site.refused("yard", &set("id = \"gate\""), "cameras.yard.id is \"gate\"; leave it out: this is yard");
    site.refused("yard", &set("x = ["), "cameras.yard is not TOML; correct it: unclosed array, expected `]`");
    site.refused(
        "yard",
        &set(""),
        "cameras.yard is set to nothing; name a key and its value, such as labels=[\"person\"]",
    );
    site.refused("barn", &set("url = \"ftp://watch:hunter2@cam\""), &format!("cameras.barn.url is \"ftp://***\"; ftp cannot be opened: use rtsp://host:port/path, rtsps://, http:// or https:// for MJPEG, /dev/video0, or file:///path/to/video.mp4 {back}"));
}

#[test]
fn who_changes_cameras_reads_no_file_of_the_edge_and_gets_no_login_of_its_own_file() {
    let mut site = Site::new("user = \"watch\"\npassword = \"hunter2\"\n");
    let own = "write it into the edge's own file: through the API no file of the edge is named";
    site.refused(
        "yard",
        &set("password_file = \"/etc/shadow\""),
        &format!("cameras.yard.password_file is ***; set password, or {own}"),
    );
    site.refused(
        "yard",
        &set("url = \"file:///etc/shadow\""),
        &format!("cameras.yard.url is \"file:///etc/shadow\"; {own}"),
    );
    site.done("yard", &set("url = \"rtsp://10.0.0.5/other\""));
    assert!(site.yard().login.is_some(), "the same camera");
    site.done("yard", &set("url = \"rtsp://10.6.6.6/live\""));
    assert_eq!(site.yard().login, None, "another host is sent no password");
    site.done("yard", &set("user = \"eve\"\npassword = \"x\""));
    assert_eq!(site.yard().login.as_ref().map(|login| login.user.as_str()), Some("eve"));
    let shown = site.plan.shown(&id("yard")).expect("it is there");
    assert!(shown.contains("password = \"***\"") && !shown.contains("hunter2"), "{shown}");
    let login = EDGE.replace("rtsp://", "rtsp://watch:hunter2@");
    std::fs::write(site.file(), login).expect("written");
    let plan = Plan::read(&site.file()).expect("it is right");
    assert!(!format!("{:?} {:?}", plan.edge, plan.shown(&id("yard"))).contains("hunter2"));
}

#[test]
fn what_does_not_fit_any_more_is_told_and_a_camera_that_is_gone_from_the_file_does_not_keep_an_edge_down() {
    let mut site = Site::new("");
    site.done("yard", &set("priority = \"high\""));
    std::fs::write(site.file(), EDGE.replace("\"yard\"", "\"gate\"")).expect("written");
    let plan = Plan::read(&site.file()).expect("it starts all the same");
    assert_eq!((plan.edge.cameras.len(), &plan.orphans[..]), (1, &[id("yard")][..]));
    let (file, _) = plan.overlay_file();
    std::fs::write(&file, "cameras = 5").expect("written");
    let found = Plan::read(&site.file()).map(|plan| plan.edge).expect_err("it is no overlay").to_string();
    let wanted = format!("{} is of another shape at cameras; correct it, or remove it", file.display());
    assert!(found.starts_with(&wanted), "{found}");
}

#[test]
fn all_is_taken_back_at_once() {
    let mut site = Site::new("");
    site.done("yard", &remove(&[]));
    site.done("barn", &set("url = \"test:ball\""));
    let plan = site.plan.changed(None, &reset(&[])).expect("it is right");
    assert_eq!(plan.edge.cameras.iter().map(|camera| camera.id.as_str()).collect::<Vec<_>>(), ["yard"]);
}
