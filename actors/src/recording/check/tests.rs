//! Files of all kinds in one directory, looked at and put right.

use super::*;
use crate::media::fmp4::{Fragmenter, Head, Patch};
use crate::recording::rows::folder;
use protocol::camera::{Format, Stream, Unit, VideoCodec, VideoFormat};
use protocol::codec::Blob;
use protocol::{CameraId, Timestamp};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use tempfile::TempDir;

const WALL_US: i64 = 1_790_000_000_000_000;

struct Site {
    dir: TempDir,
    takes: i64,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), takes: 0 }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Ten seconds of footage, and where they are below the root.
    fn take(&mut self, finished: bool) -> PathBuf {
        self.takes += 1;
        let wall_us = WALL_US + self.takes * 10_000_000;
        let picture = |at: i64| Unit {
            stream: Stream::Video,
            key: at % 30 == 0,
            pts_us: at * 66_667,
            duration_us: 0,
            captured_us: wall_us + at * 66_667,
            data: Blob([&100u32.to_be_bytes()[..], &[0x65; 100]].concat()),
        };
        let video =
            VideoFormat { codec: VideoCodec::H264, width: 640, height: 360, config: Blob(vec![1, 0x64, 0, 0x1f]) };
        let mut fragmenter = Fragmenter::new(false);
        let mut fragments: Vec<_> = (0..150).flat_map(|at| fragmenter.push(picture(at))).collect();
        fragments.extend(fragmenter.flush());
        let camera: CameraId = "yard".parse().expect("a name");
        let id = TakeId::new(Timestamp::from_micros(wall_us));
        let head = Head::new(&fragments[0], id, None, camera.clone(), Format { video, audio: None });
        let mut take = Take::new(head);
        let path = folder(&camera, take.head().begin).join(format!("{id}.mp4"));
        let full = self.root().join(&path);
        std::fs::create_dir_all(full.parent().expect("it has one")).expect("there is room");
        let mut file = File::create(&full).expect("there is room");
        file.write_all(&take.head_bytes()).expect("there is room");
        for fragment in &fragments {
            let part = take.part(fragment);
            file.write_all(&part.header).expect("there is room");
            file.write_all(&part.payload).expect("there is room");
            take.wrote(part.info);
        }
        for Patch { offset, bytes } in take.finish_as(1).into_iter().filter(|_| finished) {
            file.write_all_at(&bytes, offset).expect("there is room");
        }
        path
    }

    fn cut(&self, path: &Path, bytes: u64) {
        let file = OpenOptions::new().write(true).open(self.root().join(path)).expect("it is there");
        let before = file.metadata().expect("it is there").len();
        file.set_len(before - bytes).expect("it can be shorter");
    }

    #[track_caller]
    fn check(&self, options: Options, wanted: &[(&Path, ProblemKind)]) -> Report {
        let report = check(self.root(), options).expect("it can be read");
        let found: Vec<_> = report.problems.iter().map(|found| (found.path.as_path(), found.kind)).collect();
        assert_eq!(found, wanted);
        report
    }
}

const LOOK: Options = Options { repair: false, quick: false };
const REPAIR: Options = Options { repair: true, quick: false };

#[test]
fn what_is_whole_is_fine_and_what_is_not_is_named_and_put_right() {
    use ProblemKind::*;
    let mut site = Site::new();
    let (whole, unfinished, torn) = (site.take(true), site.take(false), site.take(false));
    site.cut(&torn, 50);
    let torn_bytes = length(&site.root().join(&torn));

    // Without an index: looking makes none.
    site.check(LOOK, &[(&whole, Unindexed), (&unfinished, Unfinished), (&torn, Torn)]);
    assert!(!site.root().join("index.redb").exists());

    let wanted =
        [(&*whole, Unindexed), (&unfinished, Unfinished), (&unfinished, Unindexed), (&torn, Torn), (&torn, Unindexed)];
    let report = site.check(REPAIR, &wanted);
    assert!(report.is_well(), "{report:?}");
    assert_eq!(report.rows.len(), 3);
    assert_eq!(report.rows[0].class, Class::Motion);
    assert!(report.rows[2].bytes < torn_bytes && report.rows[2].bytes == length(&site.root().join(&torn)));

    for quick in [false, true] {
        assert!(site.check(Options { repair: false, quick }, &[]).is_well());
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().expect("it is there").len()
}

#[test]
fn bytes_that_changed_and_files_that_went_are_noticed() {
    let mut site = Site::new();
    let (changed, gone) = (site.take(true), site.take(true));
    check(site.root(), REPAIR).expect("it can be read");
    let file = OpenOptions::new().write(true).open(site.root().join(&changed)).expect("it is there");
    let last = file.metadata().expect("it is there").len() - 1;
    file.write_all_at(b"x", last).expect("there is room");
    std::fs::remove_file(site.root().join(&gone)).expect("it is there");

    let wanted = [(&*changed, ProblemKind::Corrupt), (&gone, ProblemKind::Missing)];
    assert!(!site.check(LOOK, &wanted).is_well());
    site.check(Options { repair: false, quick: true }, &wanted[1..]);
    // What is gone leaves the index; what changed stays named.
    assert!(!site.check(REPAIR, &wanted).is_well());
    site.check(REPAIR, &wanted[..1]);
}

#[test]
fn what_is_of_others_is_named_and_left_alone() {
    let mut site = Site::new();
    let moved = site.take(true);
    let day = site.root().join(moved.parent().and_then(Path::parent).expect("a day"));
    std::fs::create_dir(day.join("door")).expect("there is room");
    let elsewhere = day.join("door").join(moved.file_name().expect("a name"));
    std::fs::rename(site.root().join(&moved), &elsewhere).expect("it can be moved");
    let folder = site.root().join(moved.parent().expect("a folder"));
    let of_zeros = format!("{:032x}.mp4", 1);
    std::fs::write(folder.join(&of_zeros), [0; 5000]).expect("there is room");
    std::fs::write(folder.join(format!("{:032x}.json", 2)), "{}").expect("there is room");
    std::fs::write(folder.join("holiday.mp4"), "beach").expect("there is room");
    std::fs::write(folder.join(format!("{:032x}.jpg", 2)), "a picture").expect("there is room");
    std::os::unix::fs::symlink("/etc/passwd", folder.join(format!("{:032x}.mp4", 3))).expect("there is room");

    let report = check(site.root(), REPAIR).expect("it can be read");
    assert!(!report.is_well() && report.rows.is_empty());
    assert_eq!(report.problems.len(), 5, "{:?}", report.problems);
    assert!(report.problems.iter().all(|problem| problem.kind == ProblemKind::Foreign), "{:?}", report.problems);
    assert_eq!(std::fs::read(folder.join(of_zeros)).expect("it is left alone"), [0; 5000]);
}

#[test]
fn a_running_node_is_not_disturbed() {
    let mut site = Site::new();
    let writing = site.take(false);
    let index = Index::open(&index_path(site.root())).expect("it is made");
    assert!(site.check(LOOK, &[]).in_use);
    assert!(matches!(check(site.root(), REPAIR), Err(CheckError::InUse(_))));
    drop(index);
    site.check(LOOK, &[(&writing, ProblemKind::Unfinished)]);
}
