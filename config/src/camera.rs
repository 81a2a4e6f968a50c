//! `[[cameras]]`: where a camera is, how to log in, how much of it is looked at.

pub(crate) mod url;

use crate::edge::FRAMES_PER_S;
use crate::reader::Section;
use crate::recording::RecordMode;
use crate::watching::{Filter, GearMode, ObjectMask, Polygon, Schedule, Zone, read, schedule};
use protocol::camera::{Detect, Login, Transport};
use protocol::limits::FRAME_SIDE_PX_MAX;
use protocol::{CameraId, Priority};
use std::time::Duration;
use url::Source;

/// One camera of an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    pub id: CameraId,
    /// As [`protocol::camera::Source::url`], without user and password: those are in `login`.
    pub source_url: String,
    pub login: Option<Login>,
    /// `None`: as `[detect]` says.
    pub frames_per_s: Option<f32>,
    /// Wider frames are scaled down to this.
    pub frame_width_px_max: u32,
    /// A live camera without a frame for so long is stalled.
    pub stall: Duration,
    /// `None`: as `[detect]` says.
    pub model: Option<String>,
    /// What to report; empty means all that the model knows.
    pub labels: Vec<String>,
    /// Whose frames go first when there are too many.
    pub priority: Priority,
    /// Off: it stays configured, and nothing of it is opened.
    pub enabled: bool,
    /// A smaller stream of the same camera that is looked at; the first one is recorded.
    pub detect: Option<Detect>,
    pub transport: Transport,
    /// A file is played again and again; else once.
    pub repeat: bool,
    /// `None`: as `[record]` says.
    pub record: Option<RecordMode>,
    /// `None`: as `[gears]` says.
    pub gear: Option<GearMode>,
    /// Nothing inside counts as motion.
    pub motion_masks: Vec<Polygon>,
    pub object_masks: Vec<ObjectMask>,
    pub zones: Vec<Zone>,
    /// At most one a label.
    pub filters: Vec<Filter>,
    /// When what is seen becomes an event; always if `None`.
    pub schedule: Option<Schedule>,
}

/// Narrower pictures hold too little for a model to find anything in.
const FRAME_WIDTH_PX_MIN: u64 = 64;

pub(crate) fn read(s: &mut Section) -> Option<Camera> {
    let id = s.must("id", "name it with 1 to 48 of a-z, 0-9 and -, such as front-door");
    let source = source(s.require("url", url::WAY_OUT), "url");
    let login = login(s, source.as_ref().is_some_and(|source| source.login.is_some()));
    let login = login.or_else(|| source.as_ref()?.login.clone());
    let detect = detect(s, source.as_ref(), login.as_ref());
    let frames_per_s = s.number("frames_per_s", FRAMES_PER_S);
    let width_range = FRAME_WIDTH_PX_MIN..=u64::from(FRAME_SIDE_PX_MAX);
    let frame_width_px_max = s.int("frame_width_px_max", width_range, "").unwrap_or(1280);
    let stall = s.millis("stall_ms", 1500, 100..=600_000);
    let model = s.text("model", "name a model of a gpu node, or remove it");
    let labels = read::labels(s);
    let priority = s.choice("priority").unwrap_or_default();
    let enabled = s.flag("enabled").unwrap_or(true);
    let transport = s.choice("transport").unwrap_or(Transport::Tcp);
    let repeat = s.flag("repeat").unwrap_or(false);
    let (record, gear) = (s.choice("record"), s.choice("gear"));
    let (motion_masks, object_masks) = (read::motion_masks(s), read::object_masks(s));
    let (zones, filters, schedule) = (read::zones(s), read::filters(s), schedule::read(s));
    Some(Camera {
        id: id?,
        source_url: source?.url,
        login,
        frames_per_s,
        frame_width_px_max,
        stall,
        model,
        labels,
        priority,
        enabled,
        detect,
        transport,
        repeat,
        record,
        gear,
        motion_masks,
        object_masks,
        zones,
        filters,
        schedule,
    })
}

/// The second stream. Without a login of its own it has the first one's, if it is on the same host: a password is
/// sent nowhere else unasked.
fn detect(s: &mut Section, main: Option<&Source>, login: Option<&Login>) -> Option<Detect> {
    let Source { url, login: own } = source(s, "detect_url")?;
    let main = main?;
    if url == main.url {
        s.fault("detect_url", "the same as url", "name another stream of this camera, or remove it");
    }
    let host = |url: &str| url::host_port(url).map(|address| url::host(&address).to_owned());
    let is_there = host(&url) == host(&main.url);
    Some(Detect { login: own.or_else(|| login.filter(|_| is_there).cloned()), url })
}

fn source(s: &mut Section, key: &str) -> Option<Source> {
    let text = s.opt_with(key, url::WAY_OUT, |text| Some(text.to_owned()))?;
    url::parse(&text).map_err(|way_out| s.fault(key, &url::safe_part(&text), &way_out)).ok()
}

/// `user`, with `password` or `password_file`.
fn login(s: &mut Section, is_in_url: bool) -> Option<Login> {
    let has_password = s.has("password") || s.has("password_file");
    if is_in_url && (s.has("user") || has_password) {
        s.fault(
            "user",
            "set as well as in url",
            "keep one of the two; password_file keeps the secret out of this file",
        );
    } else if s.has("user") && !has_password {
        s.fault("password", "missing", "set password or password_file beside user; password = \"\" if it has none");
    } else if !s.has("user") && has_password {
        s.fault("user", "missing", "set the user that the password belongs to");
    }
    let user = s.text("user", "name the user in quotes");
    let password = s.secret("password");
    Some(Login { user: user?, password: password? })
}
