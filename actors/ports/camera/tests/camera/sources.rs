//! Sources: files, test pictures and MJPEG, each handed over as a stream of access units.

use crate::support::{Watched, file, folder, footage, launch, source};
use protocol::camera::{AudioCodec, Detect, Format, Gear, Report, Source, SourceFault, Stream, VideoCodec};
use std::io::{Read, Write};
use std::net::TcpListener;

fn every_frame(path: &std::path::Path) -> Source {
    Source { every_frame: true, units: true, frames_per_s: 0.0, ..source(file(path)) }
}

/// Width and time of each.
fn frames(reports: &[Report]) -> Vec<(u32, u64)> {
    let frame =
        |report: &Report| if let Report::Frame(frame) = report { Some((frame.width, frame.pts_us)) } else { None };
    reports.iter().filter_map(frame).collect()
}

fn formats(reports: &[Report]) -> Vec<Format> {
    let format = |report: &Report| if let Report::Format(format) = report { Some(format.clone()) } else { None };
    reports.iter().filter_map(format).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_changes_in_mid_stream_is_told_before_its_first_unit() {
    let stream = |name, size| {
        let to = "video/x-h264,stream-format=byte-stream";
        footage("sizes", name, 30, size, "bframes=0 key-int-max=15", to)
    };
    let (small, large) = (stream("small.h264", (320, 180)), stream("large.h264", (640, 360)));
    let both = [std::fs::read(small).expect("it is there"), std::fs::read(large).expect("it is there")].concat();
    let path = folder("sizes").join("both.h264");
    std::fs::write(&path, both).expect("it is ours");
    let reports = Watched::open(every_frame(&path)).await.all().await;
    let formats = formats(&reports);
    let widths: Vec<_> = formats.iter().map(|format| format.video.width).collect();
    assert_eq!(widths, [320, 640]);
    assert_ne!(formats[0].video.config, formats[1].video.config);
    let mut after = reports.iter().skip_while(|report| !matches!(report, Report::Format(f) if f.video.width == 640));
    let unit = after.find_map(|report| if let Report::Unit(unit) = report { Some(unit) } else { None });
    assert!(unit.is_some_and(|unit| unit.key), "{unit:?}");
    let frames = frames(&reports);
    let of = |wanted| frames.iter().filter(|(width, _)| *width == wanted).count();
    assert_eq!((of(320), of(640)), (30, 30));
    let opened = |report: &&Report| matches!(report, Report::Opened { .. });
    assert!(reports.iter().filter(opened).count() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decoder_that_fails_is_replaced_and_no_frame_is_lost() {
    let path = footage("decoders", "v.mp4", 45, (320, 180), "bframes=2 b-adapt=false key-int-max=60", "mp4mux");
    let decoders = ["no_such_decoder", "fakesink", "jpegdec", "identity"].map(str::to_owned).to_vec();
    let reports = Watched::open(Source { decoders, ..every_frame(&path) }).await.all().await;
    let frames = frames(&reports);
    assert_eq!(frames.len(), 45, "{frames:?}");
    assert!(frames.is_sorted_by(|a, b| a.1 < b.1), "{frames:?}");
    let decoder = reports
        .iter()
        .rev()
        .find_map(|report| if let Report::Opened { decoder, .. } = report { Some(decoder.clone()) } else { None });
    assert!(decoder.as_deref().is_some_and(|name| name.contains("264")), "{decoder:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_an_end_has_even_time_over_its_ends() {
    let path = footage("loop", "v.mp4", 30, (320, 180), "bframes=0 key-int-max=15", "mp4mux");
    let repeated = Source { repeat: true, units: true, gear: Gear::Passthrough, ..source(file(&path)) };
    let mut watched = Watched::open(repeated).await;
    let mut units = Vec::new();
    while units.len() < 100 {
        units.push(watched.unit().await);
    }
    let apart = |of: fn(&protocol::camera::Unit) -> i64| units.windows(2).map(move |pair| of(&pair[1]) - of(&pair[0]));
    let pts: Vec<_> = apart(|unit| unit.pts_us).collect();
    assert!(pts.iter().all(|us| (60_000..75_000).contains(us)), "{pts:?}");
    assert!(apart(|unit| unit.captured_us).all(|us| us > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_is_handed_over_beside_the_picture() {
    let path = folder("sound").join("v.mp4");
    launch(&format!(
        "videotestsrc num-buffers=60 ! video/x-raw,format=I420,width=320,height=180,framerate=15/1 ! \
         x264enc speed-preset=ultrafast key-int-max=15 bframes=0 ! h264parse ! mp4mux name=m ! filesink location={} \
         audiotestsrc num-buffers=188 samplesperbuffer=1024 ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! \
         aacparse ! m.",
        path.display()
    ));
    let audible = Source { audio: true, units: true, gear: Gear::Passthrough, ..source(file(&path)) };
    let reports = Watched::open(audible).await.all().await;
    let audio = formats(&reports).pop().and_then(|format| format.audio).expect("it has sound");
    assert_eq!((audio.codec, audio.sample_rate, audio.channels), (AudioCodec::Aac, 48_000, 2));
    assert!(audio.config.0.len() >= 2);
    let sounds: Vec<_> = reports
        .iter()
        .filter_map(|report| if let Report::Unit(unit) = report { Some(unit) } else { None })
        .filter(|unit| unit.stream == Stream::Audio)
        .collect();
    assert!(sounds.len() > 100, "{}", sounds.len());
    assert!(sounds.iter().all(|unit| unit.key && (21_000..22_000).contains(&unit.duration_us)), "{:?}", sounds[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_is_decoded_in_place_of_the_first() {
    let main = footage("detect", "main.mp4", 45, (640, 360), "bframes=0 key-int-max=15", "mp4mux");
    let small = footage("detect", "small.mp4", 45, (320, 180), "bframes=0 key-int-max=15", "mp4mux");
    let detect = Some(Detect { url: file(&small), login: None });
    let reports =
        Watched::open(Source { detect, units: true, frames_per_s: 0.0, ..source(file(&main)) }).await.all().await;
    let widths: Vec<_> = formats(&reports).iter().map(|format| format.video.width).collect();
    assert_eq!(widths, [640], "what is recorded");
    assert!(frames(&reports).iter().all(|(width, _)| *width == 320) && frames(&reports).len() >= 40);
    let sizes =
        |key: bool| reports.iter().filter(|report| matches!(report, Report::Size(size) if size.key == key)).count();
    assert_eq!((sizes(true), sizes(false)), (3, 42));
    let units = reports.iter().filter(|report| matches!(report, Report::Unit(_))).count();
    assert_eq!(units, 45);
    let gone = Some(Detect { url: "file:///none.mp4".to_owned(), login: None });
    let (fault, text) = Watched::open(Source { detect: gone, ..source("test:ball") }).await.failed().await;
    assert!(fault == SourceFault::NotFound && text.contains("none.mp4"), "{text}");
}

/// What a camera that is no H.264 comes out as.
async fn check_encoded(url: String, width: u32) {
    let mut watched = Watched::open(Source { units: true, frames_per_s: 0.0, ..source(url) }).await;
    let format = watched.until(|report| if let Report::Format(format) = report { Some(format.clone()) } else { None });
    let video = format.await.video;
    assert_eq!((video.codec, video.width), (VideoCodec::H264, width));
    let (mut units, mut frames) = (Vec::new(), 0);
    while units.iter().filter(|key| **key).count() < 2 || frames < 5 {
        match watched.report().await.expect("it goes on") {
            Report::Unit(unit) => units.push(unit.key),
            Report::Frame(_) => frames += 1,
            other => assert!(!matches!(other, Report::Failed { .. } | Report::Ended), "{other:?}"),
        }
    }
    assert!(units[0], "the first unit is a key frame");
}

#[tokio::test(flavor = "multi_thread")]
async fn test_pictures_are_a_camera() {
    check_encoded("test:ball".to_owned(), 1280).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mjpeg_over_http_is_a_camera() {
    let picture = folder("mjpeg").join("p.jpg");
    launch(&format!(
        "videotestsrc num-buffers=1 ! video/x-raw,width=320,height=240 ! jpegenc ! filesink location={}",
        picture.display()
    ));
    let jpeg = std::fs::read(picture).expect("it is there");
    let camera = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/video.cgi", camera.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        let (mut stream, _) = camera.accept().expect("the port comes");
        let _ = stream.read(&mut [0; 4096]);
        let mut send = |bytes: &[u8]| stream.write_all(bytes);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";
        let mut sent = send(head.as_bytes());
        while sent.is_ok() {
            let part = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
            sent = send(part.as_bytes()).and_then(|()| send(&jpeg)).and_then(|()| send(b"\r\n"));
            // A camera's pace.
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    });
    check_encoded(url, 320).await;
}
