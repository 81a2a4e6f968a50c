//! Clips and pictures, as a player asks for them.

use super::*;
use crate::fabric::clips::Opening;
use axum::body::to_bytes;

const EVENT: EventId = EventId(7);

struct Clips(Vec<u8>);

impl Source for Clips {
    fn open(&self, clip: EventId, offset: u64) -> Opening<'_> {
        Box::pin(async move {
            if clip != EVENT {
                return Err(format!("there is no clip of event {clip} here"));
            }
            let rest = self.0[offset as usize..].to_vec();
            Ok(Clip { bytes: self.0.len() as u64, reader: Box::pin(io::Cursor::new(rest)) })
        })
    }
}

fn clip_bytes() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

fn kept() -> Kept {
    Kept::default().clips(Clips(clip_bytes()))
}

async fn ask(kept: &Kept, headers: &[(header::HeaderName, &str)], bodiless: bool) -> (StatusCode, HeaderMap, Vec<u8>) {
    let head = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
    let answer = kept.clip(EVENT, &head, bodiless).await;
    let (parts, body) = answer.into_parts();
    (parts.status, parts.headers, to_bytes(body, usize::MAX).await.expect("reads").to_vec())
}

#[tokio::test]
async fn a_clip_is_given_whole_in_parts_and_without_its_bytes() {
    let (kept, all) = (kept(), clip_bytes());
    let (status, head, body) = ask(&kept, &[], false).await;
    assert_eq!((status, &body), (StatusCode::OK, &all));
    assert_eq!(
        (&head[header::CONTENT_LENGTH], &head[header::ACCEPT_RANGES]),
        (&"200000".parse::<HeaderValue>().expect("one"), &"bytes".parse::<HeaderValue>().expect("one"))
    );
    assert_eq!(head[header::CONTENT_TYPE], "video/mp4");
    let (status, head, body) = ask(&kept, &[(header::RANGE, "bytes=100000-100999")], false).await;
    assert_eq!((status, body.as_slice()), (StatusCode::PARTIAL_CONTENT, &all[100_000..101_000]));
    assert_eq!(head[header::CONTENT_RANGE], "bytes 100000-100999/200000");
    let (status, head, body) = ask(&kept, &[(header::RANGE, "bytes=-10")], true).await;
    assert_eq!((status, body.len()), (StatusCode::PARTIAL_CONTENT, 0));
    assert_eq!(head[header::CONTENT_LENGTH], "10");
    let (status, head, _) = ask(&kept, &[(header::RANGE, "bytes=200000-")], false).await;
    assert_eq!(
        (status, &head[header::CONTENT_RANGE]),
        (StatusCode::RANGE_NOT_SATISFIABLE, &"bytes */200000".parse::<HeaderValue>().expect("one"))
    );
}

#[tokio::test]
async fn a_part_of_what_has_grown_since_is_given_whole() {
    let kept = kept();
    let (_, head, _) = ask(&kept, &[], true).await;
    let tag = head[header::ETAG].to_str().expect("text").to_owned();
    let (status, ..) = ask(&kept, &[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, &tag)], false).await;
    assert_eq!(status, StatusCode::PARTIAL_CONTENT);
    let (status, ..) = ask(&kept, &[(header::RANGE, "bytes=0-9"), (header::IF_RANGE, "\"other\"")], false).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_browser_does_not_play_is_offered_for_download_and_said_to_be_so() {
    let h265 = kept().codecs(|_| Box::pin(async { Some("hvc1.1.6.L93.B0".to_owned()) }));
    let (_, head, _) = ask(&h265, &[], true).await;
    assert_eq!(head[header::CONTENT_TYPE], "video/mp4; codecs=\"hvc1.1.6.L93.B0\"");
    assert!(
        head.contains_key(NOTE) && head[header::CONTENT_DISPOSITION].to_str().expect("text").starts_with("attachment")
    );
    let h264 = kept().codecs(|_| Box::pin(async { Some("avc1.64001f".to_owned()) }));
    let (_, head, _) = ask(&h264, &[], true).await;
    assert!(!head.contains_key(NOTE) && !head.contains_key(header::CONTENT_DISPOSITION));
}

#[tokio::test]
async fn too_many_clips_at_once_are_refused_and_a_reader_that_left_makes_room() {
    let kept = kept();
    let empty = HeaderMap::new();
    let mut open = Vec::new();
    for _ in 0..AT_ONCE_MAX {
        open.push(kept.clip(EVENT, &empty, false).await);
    }
    assert_eq!(kept.clip(EVENT, &empty, false).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    open.push(kept.clip(EVENT, &empty, false).await);
    assert_eq!(open[AT_ONCE_MAX - 1].status(), StatusCode::OK);
    assert_eq!(kept.clip(EventId(8), &empty, true).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    open.clear();
    assert_eq!(kept.clip(EventId(8), &empty, true).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_picture_is_given_or_said_to_be_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("thumb"), b"jpeg").expect("is written");
    let (path, none) = (dir.path().to_owned(), Kept::default());
    let kept = Kept::default()
        .pictures(move |_, which| Some(path.join(if which == Picture::Thumb { "thumb" } else { "none" })));
    let answer = kept.picture(EVENT, Picture::Thumb).await;
    assert_eq!(
        (answer.status(), &answer.headers()[header::CONTENT_TYPE]),
        (StatusCode::OK, &"image/jpeg".parse::<HeaderValue>().expect("one"))
    );
    assert_eq!(to_bytes(answer.into_body(), 100).await.expect("reads").as_ref(), b"jpeg");
    assert_eq!(kept.picture(EVENT, Picture::Crop).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(none.picture(EVENT, Picture::Crop).await.status(), StatusCode::NOT_FOUND);
}
