//! The RTSP server around the feeder: one path or two, on this machine only, with or without a password and TLS.

use super::book::{Book, now_us};
use super::encoder::{Codec, Origin, Recipe, Sound};
use super::faults::Order;
use super::feeder::{Feed, Lane};
use super::footage::Footage;
use super::scene::Scene;
use super::squares::Size;
use super::{Fact, mjpeg, wire};
use anyhow::{Context, Result, anyhow, bail};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp::RTSPAuthMethod;
use gstreamer_rtsp_server as gst_rtsp;
use gstreamer_rtsp_server::gio;
use gstreamer_rtsp_server::prelude::*;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const ADDRESS: &str = "127.0.0.1";

/// The role in the server's books of whoever may watch.
const ROLE: &str = "viewer";

/// Behind the path of the main stream.
const SUB: &str = "-sub";

/// Between the stream's end and the closing of connections, so that the last frames and the goodbye arrive.
const FAREWELL: Duration = Duration::from_millis(300);

#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: String,
}

#[derive(Debug, Clone)]
pub struct Settings {
    /// 0 takes a free one.
    pub port: u16,
    /// With its leading slash.
    pub path: String,
    /// Asked for by digest.
    pub login: Option<Login>,
    /// RTSPS, with a certificate made now that nobody knows.
    pub tls: bool,
    pub recipe: Recipe,
    /// Another one to change to in mid-stream.
    pub second_size: Option<Size>,
    /// Of the small stream at the second path.
    pub sub_size: Option<Size>,
    pub sound: Option<Sound>,
    pub seed: u64,
    /// Play once instead of for ever.
    pub once: bool,
    /// Be ready only when everything is encoded: no load of our own while others are measured.
    pub prepare: bool,
    /// The book's file.
    pub log: Option<PathBuf>,
}

/// A running camera. It runs until the process ends.
pub struct TestCamera {
    feed: Feed,
    /// The first and, if there is one, the second.
    sizes: Vec<Size>,
}

/// All that is sent.
struct Reels {
    video: Vec<Footage>,
    sound: Option<Footage>,
    sub: Option<Footage>,
}

impl TestCamera {
    /// Returns once clients can connect; what happens then comes as facts.
    pub fn start(settings: Settings) -> Result<(Self, Receiver<Fact>)> {
        gst::init().context("GStreamer does not start")?;
        let reels = Reels::encode(&settings)?;
        let known_length = if settings.prepare { Some(reels.prepare()?) } else { None };
        let book = Book::open(settings.log.as_deref()).context("the log cannot be written")?;
        let header_bytes = if settings.recipe.codec == Codec::H265 { 2 } else { 1 };
        let feed = Feed::new(book, settings.seed, header_bytes);
        let (facts, told) = channel();
        let (scheme, port, server) = if settings.recipe.codec == Codec::Jpeg {
            ("http", mjpeg::serve(&feed, &reels.video[0], (ADDRESS, settings.port), &settings.path, &facts)?, None)
        } else {
            let server = gst_rtsp::RTSPServer::new();
            let mounts = server.mount_points().context("the server has no mount points")?;
            mount(&mounts, &settings, &feed, &reels);
            let port = listen(&server, &settings, &feed)?;
            let ending = Ending { server, mounts, path: settings.path.clone() };
            (if settings.tls { "rtsps" } else { "rtsp" }, port, Some(ending))
        };
        let url = format!("{scheme}://{ADDRESS}:{port}{}", settings.path);
        feed.book().state("ready", true);
        let _ = facts.send(ready(&settings, known_length, &url));
        if let Some(ending) = server {
            feed_all(&feed, reels, settings.once, &facts, ending)?;
        }
        let first = if let Origin::Scene { size, .. } = settings.recipe.origin { Some(size) } else { None };
        let sizes = first.into_iter().chain(settings.second_size).collect();
        Ok((Self { feed, sizes }, told))
    }

    /// Does as it is told, but for `quit`. Says so if it cannot.
    pub fn obey(&self, order: Order, facts: &Sender<Fact>) -> Result<(), String> {
        let (faults, book) = (self.feed.faults(), self.feed.book());
        match order {
            Order::Stall => {
                faults.stall();
                book.state("stall", false);
            }
            Order::Garbage => {
                faults.garbage();
                book.state("garbage", false);
            }
            Order::Go => {
                faults.go();
                book.state("go", true);
            }
            Order::Size(size) => {
                let nth = self.sizes.iter().position(|known| *known == size);
                let nth = nth.ok_or("that size was not prepared; name it with --size or --size2")?;
                faults.resize(nth == 1);
                book.state(&format!("size {}x{}", size.width, size.height), self.delivers());
            }
            Order::Clock(offset_s) => {
                faults.set_clock(offset_s);
                book.state(&format!("clock {offset_s:+}"), self.delivers());
            }
            Order::Loss(percent) => {
                faults.set_loss(percent);
                book.state(&format!("loss {percent}"), self.delivers());
            }
            Order::Report => {
                let _ = facts.send(book.report(faults.dropped()));
            }
            Order::Quit => {}
        }
        Ok(())
    }

    fn delivers(&self) -> bool {
        !self.feed.faults().is_stalled() && !self.feed.faults().is_garbage()
    }
}

impl Reels {
    /// Returns with the first unit of each.
    fn encode(settings: &Settings) -> Result<Self> {
        let encode = |size| -> Result<Footage> {
            let footage = Footage::encode(Recipe { size, ..settings.recipe.clone() }.encoder()?)?;
            footage.wait_for(0)?;
            Ok(footage)
        };
        let mut video = vec![encode(None)?];
        if let Some(size) = settings.second_size {
            video.push(encode(Some(size))?);
        }
        let sub = settings.sub_size.map(|size| encode(Some(size))).transpose()?;
        let sound = settings.sound.map(|sound| Footage::encode(sound.encoder()?)).transpose()?;
        if let Some(sound) = &sound {
            sound.wait_for(0)?;
        }
        Ok(Self { video, sound, sub })
    }

    /// Waits until all is encoded. Returns how long the pictures are.
    fn prepare(&self) -> Result<Duration> {
        for reel in self.video.iter().skip(1).chain(&self.sound).chain(&self.sub) {
            reel.wait_for_all()?;
        }
        self.video[0].wait_for_all()
    }
}

/// What `--once` takes down at its end.
struct Ending {
    server: gst_rtsp::RTSPServer,
    mounts: gst_rtsp::RTSPMountPoints,
    path: String,
}

fn ready(settings: &Settings, known_length: Option<Duration>, url: &str) -> Fact {
    let (length, visits) = match &settings.recipe.origin {
        Origin::File(_) => (known_length, Vec::new()),
        Origin::Scene { scene, .. } => {
            let visits = if let Scene::Squares(schedule) = scene { schedule.lines() } else { Vec::new() };
            (Some(scene.length()), visits)
        }
    };
    Fact::Ready {
        ready: true,
        ready_us: now_us(),
        url: url.to_owned(),
        sub_url: settings.sub_size.map(|_| format!("{url}{SUB}")),
        length_us: length.and_then(|length| u64::try_from(length.as_micros()).ok()),
        visits,
    }
}

/// A thread for each lane.
fn feed_all(feed: &Feed, reels: Reels, once: bool, facts: &Sender<Fact>, ending: Ending) -> Result<()> {
    let Reels { video, sound, sub } = reels;
    let beside = [(Lane::Sound, sound), (Lane::Sub, sub)];
    for (lane, reel) in beside.into_iter().filter_map(|(lane, reel)| Some((lane, reel?))) {
        let (feed, facts) = (feed.clone(), facts.clone());
        std::thread::Builder::new().name(format!("{lane:?}").to_lowercase()).spawn(move || {
            if let Err(e) = feed.run(lane, &[reel], false, &facts) {
                let _ = facts.send(Fact::Failed { failed: format!("{e:#}") });
            }
        })?;
    }
    let (feed, facts) = (feed.clone(), facts.clone());
    std::thread::Builder::new()
        .name("video".to_owned())
        .spawn(move || feed_clients(&feed, &video, once, &facts, &ending))?;
    Ok(())
}

fn feed_clients(feed: &Feed, reels: &[Footage], once: bool, facts: &Sender<Fact>, ending: &Ending) {
    match feed.run(Lane::Video, reels, once, facts) {
        Ok(()) => {
            ending.mounts.remove_factory(&ending.path);
            ending.mounts.remove_factory(&format!("{}{SUB}", ending.path));
            feed.end();
            feed.book().state("ended", false);
            let _ = facts.send(Fact::Ended { ended: true });
            std::thread::sleep(FAREWELL);
            ending.server.client_filter(Some(&mut |_, _| gst_rtsp::RTSPFilterResult::Remove));
        }
        Err(e) => {
            let _ = facts.send(Fact::Failed { failed: format!("{e:#}") });
        }
    }
}

fn mount(mounts: &gst_rtsp::RTSPMountPoints, settings: &Settings, feed: &Feed, reels: &Reels) {
    let sound = settings.sound.map(|sound| format!(" {}", launch("sound", sound.payloader(), 1)));
    let payloader = match settings.recipe.codec {
        Codec::H265 => "rtph265pay config-interval=-1 aggregate-mode=zero-latency",
        Codec::H264 | Codec::Jpeg => "rtph264pay config-interval=-1 aggregate-mode=zero-latency",
    };
    let video = launch("feed", payloader, 0);
    let needs_role = settings.login.is_some() || settings.tls;
    let main = [Some((Lane::Video, &reels.video[0])), reels.sound.as_ref().map(|reel| (Lane::Sound, reel))];
    let main = main.into_iter().flatten().map(|(lane, reel)| (lane, reel.clone())).collect();
    let line = format!("( {video}{} )", sound.unwrap_or_default());
    mounts.add_factory(&settings.path, factory(feed, main, &line, needs_role));
    if let Some(reel) = &reels.sub {
        let sub = vec![(Lane::Sub, reel.clone())];
        mounts.add_factory(&format!("{}{SUB}", settings.path), factory(feed, sub, &format!("( {video} )"), needs_role));
    }
}

/// `max-bytes` is 8 s of a 8 Mbit/s stream. When a client takes nothing, appsrc drops nothing and grows by
/// what is pushed before the server gives the client up.
fn launch(source: &str, payloader: &str, nth: u32) -> String {
    let pt = 96 + nth;
    format!("appsrc name={source} is-live=true format=time max-bytes=8000000 ! {payloader} name=pay{nth} pt={pt}")
}

fn factory(feed: &Feed, lanes: Vec<(Lane, Footage)>, line: &str, needs_role: bool) -> gst_rtsp::RTSPMediaFactory {
    let factory = gst_rtsp::RTSPMediaFactory::new();
    factory.set_launch(line);
    factory.set_shared(true);
    if needs_role {
        factory.add_role_from_structure(
            &gst::Structure::builder(ROLE)
                .field(gst_rtsp::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
                .field(gst_rtsp::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
                .build(),
        );
    }
    let feed = feed.clone();
    factory.connect_media_configure(move |_, media| {
        for (lane, reel) in &lanes {
            if let Err(e) = attach(&feed, *lane, reel, media) {
                tracing::error!("a client cannot be served: {e:#}");
            }
        }
        wire::shift_clock(&feed, media);
    });
    factory
}

/// A media exists while at least one client is there; a client that comes back makes a new one.
fn attach(feed: &Feed, lane: Lane, reel: &Footage, media: &gst_rtsp::RTSPMedia) -> Result<()> {
    let bin = media.element().downcast::<gst::Bin>().map_err(|_| anyhow!("the media is not a bin"))?;
    let (source, payloader) = if lane == Lane::Sound { ("sound", "pay1") } else { ("feed", "pay0") };
    let source = bin.by_name(source).context("the media has no appsrc")?;
    let source = source.downcast::<gst_app::AppSrc>().map_err(|_| anyhow!("feed is not an appsrc"))?;
    source.set_caps(reel.caps().as_ref());
    wire::lose(feed, &bin.by_name(payloader).context("the media has no payloader")?, 0x20 + lane as u64)?;
    let wanting = feed.clone();
    let callbacks = gst_app::AppSrcCallbacks::builder().need_data(move |source, _| wanting.wants_data(source)).build();
    source.set_callbacks(callbacks);
    let leaving = feed.clone();
    let weak = source.downgrade();
    media.connect_unprepared(move |_| {
        if let Some(source) = weak.upgrade() {
            leaving.detach(&source);
        }
    });
    feed.attach(lane, source);
    Ok(())
}

/// Binds, and serves from a thread with its own main loop.
fn listen(server: &gst_rtsp::RTSPServer, settings: &Settings, feed: &Feed) -> Result<u16> {
    server.set_address(ADDRESS);
    server.set_service(&settings.port.to_string());
    if settings.login.is_some() || settings.tls {
        server.set_auth(Some(&authentication(settings)?));
    }
    let feed = feed.clone();
    server.connect_client_connected(move |_, client| {
        let feed = feed.clone();
        client.connect_play_request(move |_, _| {
            feed.play();
        });
    });
    let context = glib::MainContext::new();
    server.attach(Some(&context)).with_context(|| format!("port {} is taken; use --port 0", settings.port))?;
    let port = server.bound_port();
    let main_loop = glib::MainLoop::new(Some(&context), false);
    std::thread::Builder::new().name("rtsp".to_owned()).spawn(move || {
        let _ = context.with_thread_default(|| main_loop.run());
    })?;
    u16::try_from(port).context("the server is not bound to a port")
}

/// Digest, as real cameras ask for; or nothing but TLS.
fn authentication(settings: &Settings) -> Result<gst_rtsp::RTSPAuth> {
    let auth = gst_rtsp::RTSPAuth::new();
    let mut token = gst_rtsp::RTSPToken::builder().field(gst_rtsp::RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE).build();
    match &settings.login {
        Some(login) => {
            auth.set_supported_methods(RTSPAuthMethod::Digest);
            auth.add_digest(&login.user, &login.password, &token);
        }
        None => auth.set_default_token(Some(&mut token)),
    }
    if settings.tls {
        auth.set_tls_certificate(Some(&certificate()?));
    }
    Ok(auth)
}

/// Signed by itself, as cameras' are.
fn certificate() -> Result<gio::TlsCertificate> {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([ADDRESS.to_owned(), "localhost".to_owned()])?;
    let pem = format!("{}{}", cert.pem(), signing_key.serialize_pem());
    let made = gio::TlsCertificate::from_pem(&pem);
    made.or_else(|e| bail!("GLib takes no certificate ({e}); apt-get install glib-networking"))
}
