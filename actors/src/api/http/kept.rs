//! What this edge keeps of an event, as files: its clip, from any byte on, and its pictures.
//!
//!   GET /api/v1/events/{id}/clip.mp4   (HEAD, Range)      GET …/snapshot.jpg  …/crop.jpg  …/thumb.jpg
//!
//! A clip is read as it is taken: a reader that is slow holds one chunk, and one that leaves ends it.

mod range;

use super::{Http, problem};
use crate::fabric::clips::{Clip, Source};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream;
use hyper::body::Bytes;
use protocol::EventId;
use range::{Part, part};
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Clips on the way at once. When full, the next is refused, and its asker asks again.
const AT_ONCE_MAX: usize = 8;
/// Read at once, and in memory for each clip on the way.
const CHUNK_BYTES: usize = 64 * 1024;
/// A disk that sleeps takes its time.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
const READ_WITHIN: Duration = Duration::from_secs(10);
/// One picture; a larger file is none of ours.
const PICTURE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// That a clip is H.265, where the browser is not likely to know it.
const NOTE: &str = "watchtree-note";
const H265: &str = "H.265: few browsers play it; download it";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    Whole,
    Crop,
    Thumb,
}

/// As `video/mp4; codecs="…"` has them; `None` where that is not known.
type Codecs = Arc<dyn Fn(EventId) -> BoxFuture<'static, Option<String>> + Send + Sync>;
/// Where a picture is, or would be.
type Pictures = Arc<dyn Fn(EventId, Picture) -> Option<PathBuf> + Send + Sync>;

/// Where it is kept. Cheap to clone; by default nowhere.
#[derive(Clone)]
pub struct Kept {
    clips: Option<Arc<dyn Source>>,
    codecs: Option<Codecs>,
    pictures: Option<Pictures>,
    at_once: Arc<Semaphore>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { clips: None, codecs: None, pictures: None, at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}

impl Kept {
    pub fn clips(self, source: impl Source) -> Self {
        Self { clips: Some(Arc::new(source)), ..self }
    }

    pub fn codecs(self, of: impl Fn(EventId) -> BoxFuture<'static, Option<String>> + Send + Sync + 'static) -> Self {
        Self { codecs: Some(Arc::new(of)), ..self }
    }

    /// `of` may look at the disk.
    pub fn pictures(self, of: impl Fn(EventId, Picture) -> Option<PathBuf> + Send + Sync + 'static) -> Self {
        Self { pictures: Some(Arc::new(of)), ..self }
    }

    async fn clip(&self, event: EventId, head: &HeaderMap, bodiless: bool) -> Response {
        let Some(source) = &self.clips else { return problem(StatusCode::NOT_FOUND, "this edge keeps no clips") };
        let Ok(place) = self.at_once.clone().try_acquire_owned() else {
            let busy = problem(StatusCode::SERVICE_UNAVAILABLE, "too many clips are on the way already; ask again");
            return ([(header::RETRY_AFTER, "1")], busy).into_response();
        };
        let Clip { bytes, mut reader } = match opened(source, event, 0).await {
            Ok(clip) => clip,
            Err(answer) => return answer,
        };
        // A clip that goes on grows: what belongs together has the same size.
        let tag = format!("\"{event}-{bytes}\"");
        let text = |name| head.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let same = text(header::IF_RANGE).is_none_or(|wanted| wanted == tag);
        let wanted = match part(text(header::RANGE).filter(|_| same), bytes) {
            Ok(wanted) => wanted,
            Err(()) => {
                let told = problem(StatusCode::RANGE_NOT_SATISFIABLE, &format!("the clip has {bytes} B"));
                return ([(header::CONTENT_RANGE, format!("bytes */{bytes}"))], told).into_response();
            }
        };
        let (from, length) = wanted.as_ref().map_or((0, bytes), |part| (part.first, part.bytes()));
        if from > 0 && !bodiless {
            reader = match opened(source, event, from).await {
                Ok(clip) => clip.reader,
                Err(answer) => return answer,
            };
        }
        let body = if bodiless { Body::empty() } else { streamed(reader, length, place) };
        let mut answer = Response::new(body);
        *answer.status_mut() = if wanted.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        self.describe(event, &mut answer).await;
        let mut put = |name, text: String| {
            if let Ok(value) = HeaderValue::from_str(&text) {
                answer.headers_mut().insert(name, value);
            }
        };
        put(header::CONTENT_LENGTH, length.to_string());
        put(header::ACCEPT_RANGES, "bytes".to_owned());
        put(header::ETAG, tag);
        if let Some(Part { first, last }) = wanted {
            put(header::CONTENT_RANGE, format!("bytes {first}-{last}/{bytes}"));
        }
        answer
    }

    /// What it is, and that H.265 is for downloading.
    async fn describe(&self, event: EventId, answer: &mut Response) {
        let codecs = match &self.codecs {
            Some(codecs) => timeout(OPENED_WITHIN, codecs(event)).await.ok().flatten(),
            None => None,
        };
        let kind = codecs.as_ref().map_or("video/mp4".to_owned(), |codecs| format!("video/mp4; codecs=\"{codecs}\""));
        let kind = HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("video/mp4"));
        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
        if codecs.is_some_and(|codecs| codecs.starts_with("hvc1") || codecs.starts_with("hev1")) {
            answer.headers_mut().insert(NOTE, HeaderValue::from_static(H265));
            if let Ok(file) = HeaderValue::from_str(&format!("attachment; filename=\"{event}.mp4\"")) {
                answer.headers_mut().insert(header::CONTENT_DISPOSITION, file);
            }
        }
    }

    async fn picture(&self, event: EventId, which: Picture) -> Response {
        let Some(pictures) = self.pictures.clone() else {
            return problem(StatusCode::NOT_FOUND, "this edge keeps no pictures");
        };
        let reading = tokio::task::spawn_blocking(move || {
            let path = pictures(event, which).ok_or(io::ErrorKind::NotFound)?;
            let file = std::fs::File::open(path)?;
            let mut bytes = Vec::new();
            if file.metadata()?.len() > PICTURE_BYTES_MAX {
                return Err(io::Error::other("the file is larger than any picture"));
            }
            io::Read::read_to_end(&mut io::Read::take(file, PICTURE_BYTES_MAX), &mut bytes)?;
            Ok(bytes)
        });
        match timeout(OPENED_WITHIN, reading).await {
            Ok(Ok(Ok(bytes))) => ([(header::CONTENT_TYPE, "image/jpeg")], bytes).into_response(),
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::NotFound => {
                problem(StatusCode::NOT_FOUND, &format!("there is no such picture of event {event} here"))
            }
            Ok(Ok(Err(error))) => problem(StatusCode::SERVICE_UNAVAILABLE, &format!("the picture: {error}")),
            Ok(Err(failed)) => problem(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
            Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "the disk with the pictures does not answer; ask again"),
        }
    }
}

async fn opened(source: &Arc<dyn Source>, event: EventId, offset: u64) -> Result<Clip, Response> {
    match timeout(OPENED_WITHIN, source.open(event, offset)).await {
        Ok(Ok(clip)) => Ok(clip),
        Ok(Err(why)) => Err(problem(StatusCode::NOT_FOUND, &why)),
        Err(_) => Err(problem(StatusCode::SERVICE_UNAVAILABLE, "the disk with the clip does not answer; ask again")),
    }
}

/// So many bytes of it. Its place is taken until it is read or its reader has left.
fn streamed(reader: Pin<Box<dyn AsyncRead + Send>>, length: u64, place: OwnedSemaphorePermit) -> Body {
    let chunks = stream::try_unfold((reader, length, place), |(mut reader, left, place)| async move {
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let mut chunk = vec![0; usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES)];
        let read = timeout(READ_WITHIN, reader.read(&mut chunk)).await;
        let read = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if read == 0 {
            // The length is said already: the connection must not look whole.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        metrics::counter!("watchtree_clip_http_bytes_total").increment(read as u64);
        Ok(Some((Bytes::from(chunk), (reader, left - read as u64, place))))
    });
    Body::from_stream(chunks)
}

pub(super) async fn clip(
    State(http): State<Http>,
    Path(event): Path<String>,
    method: Method,
    head: HeaderMap,
) -> Response {
    match found(&http, &event) {
        Ok((kept, event)) => kept.clip(event, &head, method == Method::HEAD).await,
        Err(answer) => *answer,
    }
}

pub(super) async fn snapshot(state: State<Http>, event: Path<String>) -> Response {
    picture(state, event, Picture::Whole).await
}

pub(super) async fn crop(state: State<Http>, event: Path<String>) -> Response {
    picture(state, event, Picture::Crop).await
}

pub(super) async fn thumb(state: State<Http>, event: Path<String>) -> Response {
    picture(state, event, Picture::Thumb).await
}

async fn picture(State(http): State<Http>, Path(event): Path<String>, which: Picture) -> Response {
    match found(&http, &event) {
        Ok((kept, event)) => kept.picture(event, which).await,
        Err(answer) => *answer,
    }
}

fn found(http: &Http, event: &str) -> Result<(Kept, EventId), Box<Response>> {
    let Some(edge) = &http.edge else {
        return Err(Box::new(problem(StatusCode::NOT_FOUND, "this node keeps no recordings; ask the edge")));
    };
    let event = event.parse().map_err(|why| Box::new(problem(StatusCode::BAD_REQUEST, &format!("{why}"))))?;
    Ok((edge.kept.clone(), event))
}

#[cfg(test)]
mod tests;
