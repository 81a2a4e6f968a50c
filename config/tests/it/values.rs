//! What comes out of a configuration that is right.

use super::{EDGE, read};
use config::recording::RecordMode;
use config::watching::{Direction, GearMode, Shape};
use config::{Gpus, HostPort, LogFormat, Vars, edge_from, gpu_from, relay_from};
use protocol::Priority;
use protocol::camera::Transport;
use protocol::model::EngineKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[test]
fn a_short_file_is_enough_and_the_rest_has_defaults() {
    let edge = read(EDGE, &[]).expect("it is right");
    assert_eq!(edge.node.data_dir, PathBuf::from("/etc/watchtree/data"));
    assert_eq!(edge.node.http.to_string(), "127.0.0.1:9601");
    assert_eq!((edge.node.log, edge.node.log_level.as_str()), (LogFormat::Text, "info"));
    assert_eq!(edge.tls.key, PathBuf::from("/etc/watchtree/edge.key"));
    assert_eq!(edge.link.relay, [HostPort { host: "10.0.0.2".to_owned(), port: 7443 }]);
    assert_eq!((edge.outbox.entries_max.get(), edge.detect.frames_per_s), (1_000_000, 5.0));
    assert_eq!((edge.detect.deadline, edge.detect.score_min), (Duration::from_secs(1), 0.5));
    assert_eq!((edge.motion.threshold, edge.motion.cells_min), (18, 3));
    let seconds = [edge.track.lost_after, edge.track.blind_after, edge.track.update_every].map(|span| span.as_secs());
    assert_eq!(seconds, [2, 10, 1]);
    let camera = &edge.cameras[0];
    assert_eq!((camera.frame_width_px_max, camera.stall.as_millis(), camera.priority), (1280, 1500, Priority::Normal));
    assert!(camera.login.is_none() && camera.labels.is_empty() && camera.model.is_none());
}

#[test]
fn an_edge_may_start_without_cameras() {
    let text = &EDGE[..EDGE.find("[[cameras]]").expect("it has cameras")];
    assert!(read(text, &[]).expect("it is right").cameras.is_empty());
}

#[test]
fn the_environment_wins_over_the_file() {
    let edge = read(
        EDGE,
        &[
            ("WATCHTREE_EDGE__LINK__RELAY", "hub:1"),
            ("WATCHTREE_EDGE__MOTION__THRESHOLD", "20"),
            ("WATCHTREE_EDGE__DETECT__FRAMES_PER_S", "2.5"),
            ("WATCHTREE_EDGE__CAMERAS__0__URL", "rtsp://10.0.0.9/live"),
            ("WATCHTREE_EDGE__CAMERAS__0__LABELS", "person, car"),
            ("WATCHTREE_EDGE__CAMERAS__1__ID", "gate"),
            ("WATCHTREE_EDGE__CAMERAS__1__URL", "file:///srv/gate.mp4"),
            ("WATCHTREE_RELAY__LINK__RELAY", "not ours"),
        ],
    )
    .expect("it is right");
    assert_eq!((edge.link.relay[0].to_string().as_str(), edge.motion.threshold), ("hub:1", 20));
    assert_eq!((edge.detect.frames_per_s, edge.cameras[0].labels.join("+").as_str()), (2.5, "person+car"));
    assert_eq!(edge.cameras[0].source_url, "rtsp://10.0.0.9/live");
    assert_eq!(edge.cameras[1].id.as_str(), "gate");
}

#[test]
fn a_login_comes_from_the_url_from_keys_or_from_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("secret"), "hunter2\n").expect("written");
    let with =
        |from: &str, to: &str| edge_from(&EDGE.replace(from, to), dir.path(), &Vars::new()).map_err(|f| f.to_string());
    for (from, to) in [
        ("rtsp://", "rtsp://watch:hunter2@"),
        ("id =", "user = \"watch\"\npassword = \"hunter2\"\nid ="),
        ("id =", "user = \"watch\"\npassword_file = \"secret\"\nid ="),
    ] {
        let edge = with(from, to).expect(to);
        let camera = &edge.cameras[0];
        let login = camera.login.as_ref().expect("it has a login");
        assert_eq!((login.user.as_str(), login.password.as_str()), ("watch", "hunter2"), "{to}");
        assert_eq!(camera.source_url, "rtsp://10.0.0.5/live");
        assert!(!format!("{edge:?}").contains("hunter2"), "the log shows it");
    }
    let found = with("id =", "user = \"watch\"\npassword_file = \"nowhere\"\nid =").expect_err("it is not there");
    assert!(found.starts_with("cameras.0.password_file is \"nowhere\", unreadable (No such file"), "{found}");
    let found = with("id =", "user = \"watch\"\nid =").expect_err("no password");
    assert!(found.starts_with("cameras.0.password is missing; set password or password_file"), "{found}");
    let twice = "user = \"watch\"\npassword = \"x\"\nurl = \"rtsp://watch:hunter2@";
    let found = with("url = \"rtsp://", twice).expect_err("two logins");
    assert!(found.starts_with("cameras.0.user is set as well as in url; keep one of the two"), "{found}");
    let found = with("id =", "password = \"hunter2\"\nid =").expect_err("no user");
    assert!(found.starts_with("cameras.0.user is missing; set the user"), "{found}");
}

#[test]
fn a_gpu_node_lists_models_and_engines() {
    let text = EDGE[..EDGE.find("[[cameras]]").expect("it has cameras")].replace("\"edge\"", "\"gpu\"");
    let text =
        text + "[batcher]\nbatch_max = 2\n[[models]]\nspec = \"squares.toml\"\nengine = \"mock\"\nmock_item_ms = 3\n";
    let text = text + "turn_ms_max = 9000\n";
    let gpu = gpu_from(&text, Path::new("/etc"), &Vars::new()).expect("it is right");
    let entry = &gpu.models[0];
    assert_eq!((entry.spec.as_path(), entry.engine), (Path::new("/etc/squares.toml"), EngineKind::Mock));
    assert_eq!(entry.turn_max, Duration::from_secs(9));
    assert_eq!((entry.mock_item_ms, gpu.batcher.batch_max.get(), entry.instances.get()), (3.0, 2, 1));
    let wrong = text.replace("batch_max = 2", "batch_max = 0").replace("\"mock\"", "\"cuda\"");
    let found = gpu_from(&wrong, Path::new("/etc"), &Vars::new()).expect_err("it is wrong").to_string();
    assert!(found.starts_with("models.0.engine is \"cuda\"; use one of `auto`, `rten`, `mock`"), "{found}");
    assert!(
        found.ends_with("batcher.batch_max is 0; use a whole number from 1 to 256; 1 turns batching off"),
        "{found}"
    );
}

#[test]
fn a_relay_issues_certificates_if_it_is_told_where_the_authority_is() {
    let text =
        "[node]\nrole = \"relay\"\ndata_dir = \"data\"\n[tls]\nca = \"ca.pem\"\ncert = \"a.pem\"\nkey = \"a.key\"\n";
    let read = |text: &str| relay_from(text, Path::new("/etc"), &Vars::new());
    let plain = read(text).expect("it is right").enrol;
    assert_eq!((plain.ca_dir, plain.certificate.as_secs()), (None, 24 * 3600));
    let enrols = read(&format!("{text}[enrol]\nca_dir = \"ca\"\ncertificate_s = 20\n")).expect("it is right").enrol;
    assert_eq!((enrols.ca_dir, enrols.certificate.as_secs()), (Some(PathBuf::from("/etc/ca")), 20));
    let found = read(&format!("{text}[enrol]\ncertificate_s = 0\n")).expect_err("it is wrong").to_string();
    assert!(found.starts_with("enrol.certificate_s is 0; use a whole number from 20 to"), "{found}");
}

#[test]
fn an_edge_asks_one_gpu_node_several_or_those_that_its_relay_knows() {
    let gpus =
        |value: &str| read(&EDGE.replace("[link]", &format!("[link]\ngpu = {value}")), &[]).map(|edge| edge.link.gpu);
    let at = |port| HostPort { host: "10.0.0.7".to_owned(), port };
    assert_eq!(gpus("\"auto\"").expect("it is right"), Some(Gpus::Auto));
    assert_eq!(gpus("\"10.0.0.7:1\"").expect("it is right"), Some(Gpus::These(vec![at(1)])));
    let two = gpus("[\"10.0.0.7:1\", \"10.0.0.7:2\"]").expect("it is right");
    assert_eq!(two, Some(Gpus::These(vec![at(1), at(2)])));
    let found = gpus("\"automatic\"").expect_err("it is wrong").to_string();
    assert_eq!(found, "link.gpu is \"automatic\"; use \"auto\", host:port, such as 10.0.0.2:7444, or a list of those");
    let found = gpus("[\"10.0.0.7:1\", \"auto\"]").expect_err("it is wrong").to_string();
    assert!(found.starts_with("link.gpu.1 is \"auto\"; use \"auto\", host:port"), "{found}");
}

#[test]
fn core_nodes_link_to_several_relays() {
    let text = EDGE[..EDGE.find("[[cameras]]").expect("it has cameras")].to_owned();
    let list = "[\"10.0.0.2:7443\", \"10.0.0.3:7443\"]";
    let gpu = text.replace("\"edge\"", "\"gpu\"").replace("\"10.0.0.2:7443\"", list);
    let gpu = gpu + "[listen]\nadvertise = \"engine.example:7444\"\n";
    let gpu = gpu_from(&gpu, Path::new("/etc"), &Vars::new()).expect("it is right");
    assert_eq!(gpu.link.relay.len(), 2);
    assert_eq!(gpu.advertise.expect("it is there").to_string(), "engine.example:7444");
    let relay = text.replace("\"edge\"", "\"relay\"").replace("relay = \"10.0.0.2:7443\"", &format!("relays = {list}"));
    let relay = relay_from(&relay, Path::new("/etc"), &Vars::new()).expect("it is right");
    assert_eq!(relay.link.relays[1].to_string(), "10.0.0.3:7443");
}

#[test]
fn a_camera_says_what_is_recorded_masked_and_followed() {
    let keys = "user = \"watch\"\npassword = \"x\"\ndetect_url = \"rtsp://10.0.0.5:8554/small\"\ntransport = \"udp\"\n\
        record = \"all\"\ngear = \"passthrough\"\nenabled = false\nrepeat = true\n\
        schedule = [\"mon-fri 08:00-18:00\", \"sat 22:00-06:00\"]\nmotion_masks = [[[0, 0], [1, 0], [1, 1]]]\n\
        [[cameras.object_masks]]\npolygon = [[0, 0], [1, 0], [1, 0.5]]\nlabels = [\"car\"]\n\
        [[cameras.zones]]\nname = \"drive\"\npolygon = [[0, 0], [1, 0], [1, 1]]\ndwell_s = 4\nrequired = true\n\
        [[cameras.zones]]\nname = \"gate\"\nline = [[0, 0.5], [1, 0.5]]\ndirection = \"right-to-left\"\n\
        [[cameras.filters]]\nlabel = \"person\"\nscore_median_min = 0.7\n[[cameras.filters]]\narea_min = 0.01\n";
    let edge = read(&format!("{EDGE}{keys}"), &[]).expect("it is right");
    let camera = &edge.cameras[0];
    let detect = camera.detect.as_ref().expect("it has a second stream");
    assert_eq!((detect.url.as_str(), &detect.login), ("rtsp://10.0.0.5:8554/small", &camera.login));
    assert_eq!((camera.transport, camera.enabled, camera.repeat), (Transport::Udp, false, true));
    assert_eq!((camera.record, camera.gear), (Some(RecordMode::All), Some(GearMode::Passthrough)));
    assert_eq!(camera.schedule.as_ref().map(|schedule| schedule.0.len()), Some(2));
    assert_eq!((camera.motion_masks.len(), camera.object_masks[0].labels[0].as_str()), (1, "car"));
    let [drive, gate] = &camera.zones[..] else { panic!("{:?}", camera.zones) };
    assert_eq!((drive.inertia, drive.dwell.as_secs(), drive.required), (3, 4, true));
    let line = Shape::Line { from: [0.0, 0.5], to: [1.0, 0.5], direction: Direction::RightToLeft };
    assert_eq!((&gate.shape, gate.inertia), (&line, 1));
    assert_eq!((camera.filters[0].score_median_min, camera.filters[1].area_min), (Some(0.7), Some(0.01)));
    let elsewhere = keys.replace("10.0.0.5:8554", "10.0.0.6");
    let edge = read(&format!("{EDGE}{elsewhere}"), &[]).expect("it is right");
    assert_eq!(edge.cameras[0].detect.as_ref().expect("it is there").login, None, "another host is sent no password");
}

#[test]
fn footage_of_a_higher_class_is_never_kept_for_less_time() {
    let days = |text: &str| {
        let text = EDGE.replace("[[cameras]]", &format!("[retain]\n{text}\n[[cameras]]"));
        let retain = read(&text, &[]).expect("it is right").retain;
        [retain.continuous, retain.motion, retain.events].map(|span| span.as_secs_f32() / 86_400.0)
    };
    assert_eq!(days(""), [3.0, 7.0, 30.0]);
    assert_eq!(days("continuous_days = 90"), [90.0, 90.0, 90.0]);
    assert_eq!(days("continuous_days = 0.5\nmotion_days = 0.5\nevents_days = 1"), [0.5, 0.5, 1.0]);
}

#[test]
fn a_zone_comes_from_the_environment_as_it_would_stand_in_the_file() {
    let name = |key: &str| format!("WATCHTREE_EDGE__CAMERAS__0__{key}");
    let (zone, polygon, mask) = (name("ZONES__0__NAME"), name("ZONES__0__POLYGON"), name("MOTION_MASKS"));
    let area = "[[0, 0], [1, 0], [1, 1]]";
    let masks = format!("[{area}]");
    let edge = read(EDGE, &[(&zone, "drive"), (&polygon, area), (&mask, &masks)]).expect("it is right");
    assert_eq!((edge.cameras[0].zones[0].name.as_str(), edge.cameras[0].motion_masks.len()), ("drive", 1));
    let found = read(EDGE, &[(&zone, "drive"), (&polygon, "all of it")]).expect_err("it is no list").to_string();
    assert!(found.starts_with("cameras.0.zones.0.polygon is \"all of it\"; use three points or more"), "{found}");
}
