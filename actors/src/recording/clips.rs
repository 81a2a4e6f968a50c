//! Clips given out: an event's footage as one MP4, or one take as it is, from any offset.
//!
//!   http, relay ──event, offset──▶ [clips] ──▶ index, takes ──▶ virtual MP4 ──chunks──▶ reader
//!
//! Files are read on threads where it is no matter how long that takes; a reader that is dropped stops it.

use super::library::{Library, lock};
use super::rows::{ClipRow, TakeId, TakeRow};
use super::trouble::Trouble;
use crate::fabric::clips::{Clip, Opening, Source};
use crate::media::fmp4::{FragmentInfo, Head, View, Virtual, scan};
use protocol::EventId;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinHandle;

/// Read at once, and in memory for each reader.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why nothing is given out.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Do not ask again.
    #[error("{0}")]
    None(String),
    /// Ask again later.
    #[error("{0}")]
    Trouble(#[from] Trouble),
}

/// What was asked for.
pub struct Recording {
    /// In all, from its begin.
    pub bytes: u64,
    /// As `video/mp4; codecs="…"` has them.
    pub codecs: String,
    /// Another one if the bytes are others: of an event that goes on, or that lost footage.
    pub tag: String,
    /// From the offset asked for, to the end.
    pub reader: Reader,
}

impl Library {
    /// What is known of an event's clip; of one that goes on, so far.
    pub async fn clip(&self, event: EventId) -> Result<Option<ClipRow>, Trouble> {
        self.apart(move |library| library.find_clip(event)).await
    }

    /// What is known of a take that is finished.
    pub async fn take(&self, id: TakeId) -> Result<Option<TakeRow>, Trouble> {
        self.apart(move |library| library.index()?.take(id).map_err(|error| library.failed(&error))).await
    }

    /// An event's clip from `offset`; of an event that goes on, what is there so far.
    pub async fn open_clip(&self, event: EventId, offset: u64) -> Result<Recording, ClipError> {
        self.apart(move |library| library.open_clip_now(event, offset)).await
    }

    /// One take as it is, finished or not, from `offset`.
    pub async fn open_take_file(&self, id: TakeId, offset: u64) -> Result<Recording, ClipError> {
        self.apart(move |library| library.open_take_now(id, offset)).await
    }

    async fn apart<T, E>(&self, work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Trouble> + Send + 'static,
    {
        let library = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&library)).await;
        done.unwrap_or_else(|error| Err(Trouble::of(&io::Error::other(error), self.root()).into()))
    }

    fn find_clip(&self, event: EventId) -> Result<Option<ClipRow>, Trouble> {
        match self.going_on(event) {
            Some(clip) => Ok(Some(clip)),
            None => self.index()?.clip(event).map_err(|error| self.failed(&error)),
        }
    }

    fn open_clip_now(&self, event: EventId, offset: u64) -> Result<Recording, ClipError> {
        let none = || ClipError::None(format!("there is no clip of event {event} here"));
        let clip = self.find_clip(event)?.ok_or_else(none)?;
        let mut found = Vec::new();
        for id in &clip.takes {
            if let Some(part) = self.find_part(*id)? {
                found.push(part);
            }
        }
        let views: Vec<_> = found.iter().map(|part| View { head: &part.head, fragments: &part.fragments }).collect();
        let made = Virtual::new(&views, clip.from, clip.to).ok_or_else(none)?;
        let (bytes, codecs) = (made.bytes(), made.codecs().to_owned());
        let tag = format!("{event}-{bytes}-{}", made.end().micros());
        let paths = found.into_iter().map(|part| part.path).collect();
        let body = Body { what: What::Clip { clip: made, paths, file: None }, at: offset };
        Ok(Recording { bytes, codecs, tag, reader: Reader::new(body) })
    }

    fn open_take_now(&self, id: TakeId, offset: u64) -> Result<Recording, ClipError> {
        let part = self.find_part(id)?.ok_or_else(|| ClipError::None(format!("there is no take {id} here")))?;
        let trouble = |error| Trouble::of(&error, &part.path);
        let file = File::open(&part.path).map_err(trouble)?;
        let bytes = match part.bytes {
            Some(bytes) => bytes,
            None => file.metadata().map_err(trouble)?.len(),
        };
        let body = Body { what: What::Take { file, bytes }, at: offset };
        let codecs = crate::media::fmp4::codecs(&part.head.format);
        Ok(Recording { bytes, codecs, tag: format!("{id}-{bytes}"), reader: Reader::new(body) })
    }

    /// What there is of a take. `None`: it is gone, or nothing in it can be read.
    fn find_part(&self, id: TakeId) -> Result<Option<Part>, Trouble> {
        if let Some(open) = self.open_take(id) {
            let take = lock(&open.take);
            let (head, fragments, bytes) = (take.head().clone(), take.fragments().to_vec(), take.bytes());
            return Ok(Some(Part { head, fragments, path: self.root().join(open.row.path()), bytes: Some(bytes) }));
        }
        let Some(row) = self.index()?.take(id).map_err(|error| self.failed(&error))? else { return Ok(None) };
        let path = self.root().join(row.path());
        let opened = File::open(&path).and_then(|file| file.metadata().map(|found| (file, found.len())));
        let (mut file, bytes) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::of(&error, &path)),
        };
        // One that cannot be read is the library's to mend, and no part of a clip until then.
        let Ok(scan) = scan(&mut file, bytes) else { return Ok(None) };
        Ok(Some(Part { head: scan.head, fragments: scan.fragments, path, bytes: None }))
    }
}

struct Part {
    head: Head,
    fragments: Vec<FragmentInfo>,
    path: PathBuf,
    /// Of one that is still written: so far.
    bytes: Option<u64>,
}

impl Source for Library {
    fn open(&self, clip: EventId, offset: u64) -> Opening<'_> {
        Box::pin(async move {
            let opened = self.open_clip(clip, offset).await.map_err(|error| error.to_string())?;
            Ok(Clip { bytes: opened.bytes, reader: Box::pin(opened.reader) })
        })
    }
}

/// A recording's bytes, from where it was opened to its end.
pub struct Reader {
    state: State,
}

enum State {
    /// With what was read and not yet taken.
    Holds(Box<Body>, Vec<u8>, usize),
    Reads(JoinHandle<(Box<Body>, io::Result<Vec<u8>>)>),
    Failed,
}

struct Body {
    what: What,
    at: u64,
}

enum What {
    /// With the file that was read last.
    Clip {
        clip: Virtual,
        paths: Vec<PathBuf>,
        file: Option<(usize, File)>,
    },
    Take {
        file: File,
        bytes: u64,
    },
}

impl Reader {
    fn new(body: Body) -> Self {
        Self { state: State::Holds(Box::new(body), Vec::new(), 0) }
    }
}

impl AsyncRead for Reader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Holds(_, chunk, taken) if *taken < chunk.len() => {
                    let count = (chunk.len() - *taken).min(into.remaining());
                    into.put_slice(&chunk[*taken..*taken + count]);
                    *taken += count;
                    return Poll::Ready(Ok(()));
                }
                State::Holds(..) => {
                    let State::Holds(mut body, chunk, _) = std::mem::replace(&mut self.state, State::Failed) else {
                        return Poll::Ready(Err(broken()));
                    };
                    let work = tokio::task::spawn_blocking(move || {
                        let read = body.read_chunk(chunk);
                        (body, read)
                    });
                    self.state = State::Reads(work);
                }
                State::Reads(work) => match ready!(Pin::new(work).poll(cx)) {
                    Ok((body, Ok(chunk))) => {
                        let ended = chunk.is_empty();
                        self.state = State::Holds(body, chunk, 0);
                        if ended {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Ok((_, Err(error))) => {
                        self.state = State::Failed;
                        return Poll::Ready(Err(error));
                    }
                    Err(error) => {
                        self.state = State::Failed;
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                },
                State::Failed => return Poll::Ready(Err(broken())),
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("an earlier read of it failed")
}

impl Body {
    /// Empty only at the end.
    fn read_chunk(&mut self, mut chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        chunk.resize(CHUNK_BYTES, 0);
        let mut filled = 0;
        while filled < CHUNK_BYTES {
            let read = self.read(&mut chunk[filled..][..])?;
            if read == 0 {
                break;
            }
            filled += read;
        }
        chunk.truncate(filled);
        Ok(chunk)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.what {
            What::Clip { clip, paths, file } => clip.read_at(self.at, into, |take, offset, into| {
                if file.as_ref().is_none_or(|(of, _)| *of != take) {
                    *file = Some((take, File::open(&paths[take])?));
                }
                let (_, file) = file.as_ref().expect("it was opened above, or before");
                file.read_exact_at(into, offset)
            })?,
            What::Take { file, bytes } => {
                let left = bytes.saturating_sub(self.at).min(into.len() as u64) as usize;
                file.seek(SeekFrom::Start(self.at))?;
                file.read(&mut into[..left])?
            }
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
