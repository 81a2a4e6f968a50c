//! The RTSP server around the feeder: one path, on this machine only, with or without a password.

use super::feeder::Feed;
use super::footage::{Footage, Origin};
use super::scene::Scene;
use super::{Fact, Rhythm};
use anyhow::{Context, Result, anyhow};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_rtsp::RTSPAuthMethod;
use gstreamer_rtsp_server as gst_rtsp;
use gstreamer_rtsp_server::prelude::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const ADDRESS: &str = "127.0.0.1";

/// The role in the server's books of whoever knows the password.
const ROLE: &str = "viewer";

/// Between the stream's end and the closing of connections, so that the last frames and the goodbye arrive.
const FAREWELL: Duration = Duration::from_millis(300);

/// `max-bytes` is 8 s of a 8 Mbit/s stream. When a client takes nothing, appsrc drops nothing and grows by
/// what is pushed before the server gives the client up.
const MEDIA: &str = "( appsrc name=feed is-live=true format=time max-bytes=8000000 \
     ! rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency )";

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
    pub login: Option<Login>,
    pub origin: Origin,
    pub rhythm: Rhythm,
    /// Play once instead of for ever.
    pub once: bool,
    /// Be ready only when everything is encoded: no load of our own while others are measured.
    pub prepare: bool,
}

/// A running camera. It runs until the process ends.
pub struct TestCamera {
    feed: Feed,
    url: String,
}

impl TestCamera {
    /// Returns once clients can connect; what happens then comes as facts.
    pub fn start(settings: Settings) -> Result<(Self, Receiver<Fact>)> {
        gst::init().context("GStreamer does not start")?;
        let footage = Footage::encode(settings.origin.clone(), settings.rhythm)?;
        footage.wait_for(0)?;
        let known_length = if settings.prepare { Some(footage.wait_for_all()?) } else { None };
        let feed = Feed::default();
        let server = gst_rtsp::RTSPServer::new();
        let mounts = server.mount_points().context("the server has no mount points")?;
        mounts.add_factory(&settings.path, factory(&feed, &footage, settings.login.is_some()));
        let port = listen(&server, &settings, &feed)?;
        let url = format!("rtsp://{ADDRESS}:{port}{}", settings.path);
        let (facts, told) = channel();
        let _ = facts.send(ready(&settings.origin, known_length, &url));
        let feeding = feed.clone();
        let ending = Ending { server, mounts, path: settings.path.clone() };
        std::thread::Builder::new()
            .name("feeder".to_owned())
            .spawn(move || feed_clients(&feeding, &footage, settings.once, &facts, &ending))?;
        Ok((Self { feed, url }, told))
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stays connected and sends nothing.
    pub fn stall(&self) {
        self.feed.stall();
    }

    /// Sends again, from the next key frame on.
    pub fn go(&self) {
        self.feed.go();
    }
}

/// What `--once` takes down at its end.
struct Ending {
    server: gst_rtsp::RTSPServer,
    mounts: gst_rtsp::RTSPMountPoints,
    path: String,
}

fn ready(origin: &Origin, known_length: Option<Duration>, url: &str) -> Fact {
    let (length, visits) = match origin {
        Origin::File(_) => (known_length, Vec::new()),
        Origin::Scene { scene, .. } => {
            let visits = if let Scene::Squares(schedule) = scene { schedule.lines() } else { Vec::new() };
            (Some(scene.length()), visits)
        }
    };
    let length_us = length.and_then(|length| u64::try_from(length.as_micros()).ok());
    Fact::Ready { ready: true, url: url.to_owned(), length_us, visits }
}

fn feed_clients(feed: &Feed, footage: &Footage, once: bool, facts: &Sender<Fact>, ending: &Ending) {
    match feed.run(footage, once, facts) {
        Ok(()) => {
            ending.mounts.remove_factory(&ending.path);
            feed.end();
            let _ = facts.send(Fact::Ended { ended: true });
            std::thread::sleep(FAREWELL);
            ending.server.client_filter(Some(&mut |_, _| gst_rtsp::RTSPFilterResult::Remove));
        }
        Err(e) => {
            let _ = facts.send(Fact::Failed { failed: format!("{e:#}") });
        }
    }
}

fn factory(feed: &Feed, footage: &Footage, needs_login: bool) -> gst_rtsp::RTSPMediaFactory {
    let factory = gst_rtsp::RTSPMediaFactory::new();
    factory.set_launch(MEDIA);
    factory.set_shared(true);
    if needs_login {
        factory.add_role_from_structure(
            &gst::Structure::builder(ROLE)
                .field(gst_rtsp::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
                .field(gst_rtsp::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
                .build(),
        );
    }
    let (feed, footage) = (feed.clone(), footage.clone());
    factory.connect_media_configure(move |_, media| {
        if let Err(e) = attach(&feed, &footage, media) {
            tracing::error!("a client cannot be served: {e:#}");
        }
    });
    factory
}

/// A media exists while at least one client is there; a client that comes back makes a new one.
fn attach(feed: &Feed, footage: &Footage, media: &gst_rtsp::RTSPMedia) -> Result<()> {
    let bin = media.element().downcast::<gst::Bin>().map_err(|_| anyhow!("the media is not a bin"))?;
    let source = bin.by_name("feed").context("the media has no appsrc")?;
    let source = source.downcast::<gst_app::AppSrc>().map_err(|_| anyhow!("feed is not an appsrc"))?;
    source.set_caps(footage.caps().as_ref());
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
    feed.attach(source);
    Ok(())
}

/// Binds, and serves from a thread with its own main loop.
fn listen(server: &gst_rtsp::RTSPServer, settings: &Settings, feed: &Feed) -> Result<u16> {
    server.set_address(ADDRESS);
    server.set_service(&settings.port.to_string());
    if let Some(login) = &settings.login {
        server.set_auth(Some(&authentication(login)));
    }
    let feed = feed.clone();
    server.connect_client_connected(move |_, client| {
        let feed = feed.clone();
        client.connect_play_request(move |_, _| feed.play());
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

/// Digest, as real cameras ask for.
fn authentication(login: &Login) -> gst_rtsp::RTSPAuth {
    let auth = gst_rtsp::RTSPAuth::new();
    let token = gst_rtsp::RTSPToken::builder().field(gst_rtsp::RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE).build();
    auth.set_supported_methods(RTSPAuthMethod::Digest);
    auth.add_digest(&login.user, &login.password, &token);
    auth
}
