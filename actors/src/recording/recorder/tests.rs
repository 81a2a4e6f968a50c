//! The recorder and the library on real files: written, cut, mended, full, gone.

use super::testing::{Bench, SEGMENT, settings};
use super::*;
use crate::camera::board::Status;
use crate::events::testing::{SmallDisk, becomes, run};
use crate::media::fmp4::{Scan, scan};
use crate::recording::rows::{Class, ClipRow, TakeRow};
use crate::recording::space::Limits;
use crate::recording::testing::{Pictures, camera, event, format, format_with_sound, seconds, sound};
use config::recording::RecordMode;
use protocol::EventId;
use std::fs;
use std::path::{Path, PathBuf};
use supervision::{Node, service};
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(20);

/// All rows, and what their files say.
fn takes(library: &Library) -> Vec<(TakeRow, Scan)> {
    let mut rows = Vec::new();
    library.ready().expect("is open").each_take(|row| rows.push(row)).expect("reads");
    rows.sort_by_key(|row| row.id);
    let read = |row: TakeRow| {
        let path = library.root().join(row.path());
        let mut file = fs::File::open(&path).expect("is there");
        let bytes = file.metadata().expect("is there").len();
        let scan = scan(&mut file, bytes).expect("is one of ours");
        assert_eq!((row.bytes, scan.torn), (bytes, None));
        (row, scan)
    };
    rows.into_iter().map(read).collect()
}

fn clips(library: &Library) -> Vec<ClipRow> {
    let mut clips = Vec::new();
    library.ready().expect("is open").each_clip(|clip| clips.push(clip)).expect("reads");
    clips
}

fn pictures_of(takes: &[(TakeRow, Scan)]) -> u64 {
    takes.iter().flat_map(|(_, scan)| &scan.fragments).map(|fragment| u64::from(fragment.video_samples)).sum()
}

fn files_of(root: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("is there").flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ if entry.path().to_string_lossy().ends_with(ending) => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

#[test]
fn segments_continue_each_other_and_nothing_is_lost_doubled_or_blown_up() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::All, Bench::limits());
    for s in 1..=60 {
        bench.play(f64::from(s));
    }
    let unit_bytes = bench.unit_bytes;
    let library = bench.end(60.0);
    let takes = takes(&library);
    assert_eq!(pictures_of(&takes), 600);
    assert_eq!(takes.len(), 6);
    for (before, after) in takes.iter().zip(&takes[1..]) {
        assert_eq!(after.1.head.follows, Some(before.0.id));
        assert_eq!(after.0.begin, before.0.end);
    }
    for (row, scan) in &takes {
        assert!(scan.finished && row.end.since(row.begin) <= SEGMENT && scan.fragments[0].key);
        let bytes = fs::read(dir.path().join(row.path())).expect("is there");
        use sha2::{Digest, Sha256};
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row.sha256, Some(hash));
    }
    let written: u64 = takes.iter().map(|(row, _)| row.bytes).sum();
    let amplification = written as f64 / unit_bytes as f64;
    assert!(amplification <= 1.05, "{amplification}");
    assert_eq!(library.bytes_of(&camera()), written);
}

#[test]
fn sound_goes_with_its_pictures_over_the_borders_of_takes() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::All, Bench::limits());
    bench.footage.format(format_with_sound());
    let mut pictures = Pictures::default();
    // Sound comes a little later than the pictures that it belongs to.
    for n in 0..2000_i64 {
        if n % 5 == 0 {
            bench.footage.unit(pictures.next());
        }
        bench.footage.unit(sound(n * 20_000 - 60_000));
        if n % 50 == 0 {
            bench.turn(n as f64 / 50.0);
        }
    }
    let takes = takes(&bench.end(40.0));
    let sounds = takes.iter().flat_map(|(_, scan)| &scan.fragments).map(|fragment| u64::from(fragment.audio_samples));
    let early = 3;
    assert_eq!((takes.len(), pictures_of(&takes), sounds.sum::<u64>()), (4, 400, 2000 - early));
    assert!(takes.iter().all(|(row, _)| row.format.audio.is_some()));
}

#[test]
fn an_event_has_a_clip_from_its_pre_roll_to_its_post_roll_and_events_share_footage() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::Events, Bench::limits());
    bench.play(21.0);
    bench.footage.event(event(1, 20.0, 20.5, false));
    bench.footage.event(event(2, 19.0, 20.5, false));
    bench.turn(21.0);
    // It goes on, and what is there of it can be had.
    let so_far = bench.library.going_on(EventId(1)).expect("goes on");
    assert!(so_far.goes_on && !so_far.takes.is_empty());
    assert_eq!(clips(&bench.library).len(), 2);
    bench.play(24.0);
    bench.footage.event(event(1, 20.0, 22.0, true));
    bench.footage.event(event(2, 19.0, 23.0, true));
    bench.play(40.0);
    bench.play(60.0);
    assert!(bench.footage.has_clip(EventId(1)));
    let unit_bytes = 20_000 * pictures_of(&takes(&bench.library));
    let library = bench.end(60.0);
    let (takes, clips) = (takes(&library), clips(&library));
    let written: u64 = takes.iter().map(|(row, _)| row.bytes).sum();
    assert!(written as f64 / unit_bytes as f64 <= 1.05);
    assert!(takes.iter().all(|(row, scan)| row.class == Class::Events && scan.finished));
    assert!(pictures_of(&takes) <= 160, "{} pictures of 14.0 to 28.x", pictures_of(&takes));
    for (clip, (from, to)) in clips.iter().zip([(15.0, 27.0), (14.0, 28.0)]) {
        assert!(!clip.goes_on && clip.from == seconds(from) && clip.to == seconds(to), "{clip:?}");
        let json = fs::read(dir.path().join(clip.path())).expect("is there");
        assert_eq!(serde_json::from_slice::<ClipRow>(&json).expect("is JSON"), *clip);
    }
    assert_eq!(clips[0].takes, clips[1].takes);
}

#[test]
fn what_a_kill_cut_is_finished_by_the_next_life() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::Events, Bench::limits());
    bench.play(21.0);
    bench.footage.event(event(1, 20.0, 20.5, false));
    bench.play(25.0);
    let open = files_of(dir.path(), ".mp4");
    // What it had in its hand when it was killed.
    use std::io::Write;
    let mut torn = fs::OpenOptions::new().append(true).open(&open[0]).expect("is there");
    torn.write_all(&[0, 0, 9, 9, b'm', b'o', b'o', b'f', 1, 2, 3]).expect("is written");
    drop((torn, bench));

    let library = Library::new(dir.path().to_owned(), Bench::limits());
    let began = std::time::Instant::now();
    library.tend_now().expect("the disk is well");
    let took = began.elapsed();
    let (takes, clips) = (takes(&library), clips(&library));
    assert!(takes.len() == 1 && takes[0].1.finished && takes[0].0.is_finished());
    assert!(pictures_of(&takes) >= 90, "{} pictures of 14.0 to 24.x", pictures_of(&takes));
    assert!(!clips[0].goes_on && clips[0].to == takes[0].0.end && clips[0].from == seconds(15.0), "{clips:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_file_without_a_picture_is_removed_and_one_of_somebody_else_is_left_alone() {
    let dir = TempDir::new().expect("a directory");
    let folder = dir.path().join("2026-11-20/yard-1");
    fs::create_dir_all(&folder).expect("is made");
    let (empty, foreign) = (folder.join(format!("{:032x}.mp4", 1)), folder.join(format!("{:032x}.mp4", 2)));
    fs::write(&empty, b"").expect("is written");
    fs::write(&foreign, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x10mdat12345678").expect("is written");
    fs::write(folder.join("holiday.mp4"), b"mine").expect("is written");
    Library::new(dir.path().to_owned(), Bench::limits()).tend_now().expect("the disk is well");
    assert!(!empty.exists() && foreign.exists() && folder.join("holiday.mp4").exists());
}

#[test]
fn an_index_that_is_lost_or_broken_is_made_again_and_equals_the_one_before() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::All, Bench::limits());
    bench.play(15.0);
    bench.footage.moved(seconds(14.0));
    bench.play(60.0);
    bench.footage.event(event(1, 50.0, 55.0, true));
    bench.play(80.0);
    let library = bench.end(80.0);
    let rows = |library: &Library| (takes(library).into_iter().map(|(row, _)| row).collect::<Vec<_>>(), clips(library));
    let before = rows(&library);
    let classes: std::collections::BTreeSet<_> = before.0.iter().map(|row| row.class).collect();
    assert_eq!(classes.len(), 3, "{before:?}");
    drop(library);
    let index = dir.path().join("index.redb");
    for damage in ["removed", "garbled", "torn"] {
        match damage {
            "removed" => fs::remove_file(&index).expect("was there"),
            "garbled" => fs::write(&index, vec![7; 100_000]).expect("is written"),
            _ => {
                let whole = fs::read(&index).expect("is there");
                fs::write(&index, &whole[..whole.len() / 3]).expect("is written");
            }
        }
        let library = Library::new(dir.path().to_owned(), Bench::limits());
        library.tend_now().expect("the disk is well");
        assert_eq!(rows(&library), before, "{damage}");
    }
}

#[test]
fn the_oldest_of_the_lowest_class_goes_and_with_an_event_its_pictures() {
    let dir = TempDir::new().expect("a directory");
    let mut bench = Bench::new(dir.path(), RecordMode::All, Bench::limits());
    bench.play(12.0);
    bench.footage.event(event(1, 11.0, 11.5, true));
    bench.play(60.0);
    let library = bench.end(60.0);
    let clip = clips(&library).remove(0);
    let pictures = crate::recording::rows::SNAPSHOTS;
    let pictures = pictures
        .map(|end| dir.path().join(clip.path().with_extension("")).with_file_name(format!("{}{end}", clip.event)));
    pictures.iter().for_each(|path| fs::write(path, b"jpeg").expect("is written"));
    let before = takes(&library);
    let of_event: Vec<_> = before.iter().filter(|(row, _)| row.class == Class::Events).map(|(row, _)| row.id).collect();
    drop(library);

    // Room for the event's takes and one more: the newest of the others.
    let bytes: u64 = before.iter().filter(|(row, _)| of_event.contains(&row.id)).map(|(row, _)| row.bytes).sum();
    let last = before.last().expect("there are some");
    let max = Limits { bytes_max: Some(bytes + last.0.bytes), ..Bench::limits() };
    let library = Library::new(dir.path().to_owned(), max);
    library.tend_now().expect("the disk is well");
    let mut stays = of_event.clone();
    stays.push(last.0.id);
    assert_eq!(takes(&library).iter().map(|(row, _)| row.id).collect::<Vec<_>>(), stays);
    assert!(pictures.iter().all(|path| path.exists()) && clips(&library).len() == 1);
    drop(library);

    let library = Library::new(dir.path().to_owned(), Limits { bytes_max: Some(0), ..Bench::limits() });
    library.tend_now().expect("the disk is well");
    assert!(takes(&library).is_empty() && clips(&library).is_empty());
    assert!(files_of(dir.path(), ".mp4").is_empty() && files_of(dir.path(), ".json").is_empty());
    assert!(!pictures.iter().any(|path| path.exists()));
}

/// A camera's recorder and the library in a tree.
struct Site {
    library: Library,
    footage: Footage,
    recorder: Recorder,
    pictures: Pictures,
}

impl Site {
    fn new(root: &Path, ring_bytes_max: usize, limits: Limits) -> (Self, Vec<Node>) {
        let library = Library::new(root.to_owned(), limits);
        let footage = Footage::new(&settings(RecordMode::All, ring_bytes_max));
        footage.format(format(640));
        let recorder = Recorder::new(camera(), footage.clone(), library.clone(), SEGMENT, Status::default());
        let (for_library, for_recorder) = (library.clone(), recorder.clone());
        let children = vec![
            service("library", move |cx| for_library.clone().run(cx)),
            service("recorder", move |cx| for_recorder.clone().run(cx)),
        ];
        (Self { library, footage, recorder, pictures: Pictures { bytes: 3000, ..Pictures::default() } }, children)
    }

    fn play(&mut self, seconds: i64) {
        for _ in 0..seconds * 10 {
            self.footage.unit(self.pictures.next());
        }
    }

    /// Pictures go on coming until the library says that all is well, or is not.
    async fn becomes(&mut self, good: bool) {
        let change = async {
            while self.library.finding().is_ok() != good {
                self.play(1);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(WITHIN, change).await.unwrap_or_else(|_| panic!("it is {:?}", self.library.finding()));
    }

    /// Until all that came is on the disk, but for what is no whole piece yet.
    async fn catches_up(&self) {
        let written = async {
            while self.footage.next_unwritten() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(WITHIN, written).await.expect("is written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_waited_for_and_what_the_ring_holds_is_not_lost() {
    let dir = TempDir::new().expect("a directory");
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let (mut site, children) = Site::new(dir.path(), 32 << 20, Bench::limits());
    let root = run(children).await;
    site.play(10);
    site.catches_up().await;
    disk.fill();
    site.becomes(false).await;
    let finding = site.library.finding().expect_err("is full");
    assert!(finding.contains("make room"), "{finding}");
    disk.free();
    let freed = Instant::now();
    site.becomes(true).await;
    assert!(freed.elapsed() < Duration::from_secs(5), "{:?}", freed.elapsed());
    site.catches_up().await;
    site.footage.cut();
    site.catches_up().await;
    root.stop().await;
    site.library.tend_now().expect("is well");
    let takes = takes(&site.library);
    assert!(pictures_of(&takes) as i64 >= site.pictures.n, "{} of {}", pictures_of(&takes), site.pictures.n);
    assert_eq!(site.footage.take_lost(), Default::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_make_room_for_themselves_before_the_disk_is_full() {
    let dir = TempDir::new().expect("a directory");
    let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
    let floor = Limits { free_bytes_min: 2 << 20, ..Bench::limits() };
    let (mut site, children) = Site::new(dir.path(), 32 << 20, floor);
    site.pictures.bytes = 10_000;
    let root = run(children).await;
    // 100 kB a second: three times what fits.
    for _ in 0..180 {
        site.play(1);
        site.catches_up().await;
    }
    site.footage.cut();
    site.catches_up().await;
    root.stop().await;
    let takes = takes(&site.library);
    assert_eq!(site.footage.take_lost(), Default::default());
    let newest = takes.last().expect("some stay").0.end;
    assert!(newest >= seconds(179.0) && takes[0].0.begin > seconds(60.0), "{} to {newest}", takes[0].0.begin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_gone_is_not_made_again_and_recording_goes_on_when_it_is_back() {
    let dir = TempDir::new().expect("a directory");
    let (here, away) = (dir.path().join("recordings"), dir.path().join("away"));
    let (mut site, children) = Site::new(&here, 32 << 20, Bench::limits());
    let root = run(children).await;
    site.play(10);
    site.catches_up().await;
    fs::rename(&here, &away).expect("is moved");
    site.becomes(false).await;
    assert!(!here.exists());
    let finding = site.library.finding().expect_err("is gone");
    assert!(finding.contains("mount its disk again"), "{finding}");
    fs::rename(&away, &here).expect("is moved back");
    let back = Instant::now();
    site.becomes(true).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    site.footage.cut();
    site.catches_up().await;
    root.stop().await;
    // One that was at it when the node stopped goes on to its end.
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(trouble) = site.library.tend_now() {
        assert!(Instant::now() < until, "{trouble}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let takes = takes(&site.library);
    assert!(takes.iter().all(|(_, scan)| scan.finished));
    assert!(pictures_of(&takes) as i64 >= site.pictures.n, "{} of {}", pictures_of(&takes), site.pictures.n);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_read_only_is_waited_for() {
    let dir = TempDir::new().expect("a directory");
    let Some(_disk) = SmallDisk::mount(dir.path()) else { return };
    let remount = |how: &str| {
        let mount =
            std::process::Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(dir.path()).status();
        assert!(mount.expect("mount is there").success());
    };
    remount("ro");
    let (mut site, children) = Site::new(dir.path(), 32 << 20, Bench::limits());
    let root = run(children).await;
    becomes(false, || site.library.finding()).await;
    site.play(10);
    remount("rw");
    let well = Instant::now();
    site.becomes(true).await;
    assert!(well.elapsed() < Duration::from_secs(5), "{:?}", well.elapsed());
    site.footage.cut();
    site.catches_up().await;
    root.stop().await;
    assert_eq!(pictures_of(&takes(&site.library)) as i64, site.pictures.n);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_costs_footage_and_nobody_waits_for_it() {
    let dir = TempDir::new().expect("a directory");
    // Room for ten seconds.
    let (mut site, children) = Site::new(dir.path(), 300_000, Bench::limits());
    let hangs = site.recorder.writer.clone();
    let root = run(children).await;
    site.play(5);
    site.catches_up().await;
    let held = hangs.lock().expect("nobody panics");
    // All of this on a runtime that turns; the lock is this thread's alone.
    let began = Instant::now();
    for _ in 0..300 {
        site.footage.unit(site.pictures.next());
    }
    assert!(began.elapsed() < Duration::from_secs(2), "whoever calls it waits for the disk: {:?}", began.elapsed());
    drop(held);
    site.becomes(true).await;
    site.catches_up().await;
    site.footage.cut();
    site.catches_up().await;
    root.stop().await;
    let written = pictures_of(&takes(&site.library)) as i64;
    assert!(written < site.pictures.n && written > 100, "{written} of {}", site.pictures.n);
}
