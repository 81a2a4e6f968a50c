//! The camera as cheap ones are: JPEG after JPEG in one HTTP answer that never ends.

use super::Fact;
use super::feeder::{Feed, LATE_MAX};
use super::footage::Footage;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Clients at a time; more are not answered.
const CLIENTS_MAX: usize = 32;
/// A client that takes nothing for so long is given up.
const TAKES_WITHIN: Duration = Duration::from_secs(5);
/// A request's lines; a longer one is none.
const REQUEST_LINES_MAX: usize = 64;
const BOUNDARY: &str = "picture";

/// Serves `footage` at `path` from threads of its own. Returns the port.
pub fn serve(feed: &Feed, footage: &Footage, address: (&str, u16), path: &str, facts: &Sender<Fact>) -> Result<u16> {
    footage.wait_for_all()?;
    let listener = TcpListener::bind(address).with_context(|| format!("port {} is taken; use --port 0", address.1))?;
    let port = listener.local_addr()?.port();
    let server = Server { feed: feed.clone(), footage: footage.clone(), path: path.to_owned(), facts: facts.clone() };
    std::thread::Builder::new().name("http".to_owned()).spawn(move || server.accept(&listener))?;
    Ok(port)
}

#[derive(Clone)]
struct Server {
    feed: Feed,
    footage: Footage,
    path: String,
    facts: Sender<Fact>,
}

impl Server {
    fn accept(&self, listener: &TcpListener) {
        let clients = std::sync::Arc::new(());
        for socket in listener.incoming().flatten() {
            if std::sync::Arc::strong_count(&clients) > CLIENTS_MAX {
                continue;
            }
            let (server, here) = (self.clone(), clients.clone());
            let answering = std::thread::Builder::new().name("client".to_owned()).spawn(move || {
                // It leaves as it likes: that is no fault.
                let left = server.answer(socket);
                tracing::debug!("a client left: {left:?}");
                drop(here);
            });
            if let Err(e) = answering {
                tracing::error!("no thread for a client: {e}");
            }
        }
    }

    fn answer(&self, mut socket: TcpStream) -> Result<()> {
        socket.set_read_timeout(Some(TAKES_WITHIN))?;
        socket.set_write_timeout(Some(TAKES_WITHIN))?;
        socket.set_nodelay(true)?;
        let mut lines = BufReader::new(socket.try_clone()?).lines().take(REQUEST_LINES_MAX);
        let first = lines.next().context("no request")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        if first.split(' ').nth(1) != Some(&self.path) {
            socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            return Ok(());
        }
        let kind = format!("multipart/x-mixed-replace;boundary={BOUNDARY}");
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-cache\r\n\r\n")?;
        let started = self.feed.play();
        self.feed.tell_start(started, &self.facts);
        self.stream(socket, started)
    }

    fn stream(&self, mut socket: TcpStream, started: Instant) -> Result<()> {
        let (count, length) = (self.footage.count(), self.footage.wait_for_all()?);
        let (faults, mut rng) = (self.feed.faults(), self.feed.rng(0x40));
        let mut loops = (started.elapsed().as_nanos() / length.as_nanos().max(1)) as u32;
        loop {
            for index in 0..count {
                let unit = self.footage.wait_for(index)?.context("the footage has shrunk")?;
                let due = started + length * loops + unit.at;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if faults.is_stalled() || due.elapsed() > LATE_MAX {
                    continue;
                }
                let picture = if faults.is_garbage() { self.feed.rubbish(&unit, &mut rng) } else { unit.buffer };
                let picture = picture.map_readable()?;
                write!(
                    socket,
                    "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
                    picture.len()
                )?;
                socket.write_all(&picture)?;
                socket.write_all(b"\r\n")?;
                self.feed.book().sent(true, 0);
            }
            loops += 1;
        }
    }
}
