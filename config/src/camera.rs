//! `[[cameras]]`: where a camera is, how to log in, how much of it is looked at.

use crate::common::HostPort;
use crate::edge::FRAMES_PER_S;
use crate::fault::HIDDEN;
use crate::reader::Section;
use crate::recording::RecordMode;
use crate::watching::{Filter, GearMode, ObjectMask, Polygon, Schedule, Zone};
use protocol::camera::{Detect, Login, Transport};
use protocol::limits::FRAME_SIDE_PX_MAX;
use protocol::{CameraId, Priority};
use std::time::Duration;

/// One camera of an edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    pub id: CameraId,
    /// `rtsp://`, `rtsps://` or `file:///`, without user and password: those are in `login`.
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

const URL_WAY_OUT: &str = "use rtsp://host:port/path, rtsps://host:port/path or file:///path/to/video.mp4";

pub(crate) fn read(s: &mut Section) -> Option<Camera> {
    let id = s.must("id", "name it with 1 to 48 of a-z, 0-9 and -, such as front-door");
    let source = source(s);
    let login = login(s, source.as_ref().is_some_and(|source| source.login.is_some()));
    let frames_per_s = s.number("frames_per_s", FRAMES_PER_S);
    let width_range = FRAME_WIDTH_PX_MIN..=u64::from(FRAME_SIDE_PX_MAX);
    let frame_width_px_max = s.int("frame_width_px_max", width_range, "").unwrap_or(960);
    let stall = s.millis("stall_ms", 1500, 100..=600_000);
    let model = s.text("model", "name a model of a gpu node, or remove it");
    let labels = s
        .texts("labels", "list labels in quotes, such as [\"person\", \"car\"], or remove it for all")
        .unwrap_or_default();
    let priority = s.choice("priority").unwrap_or_default();
    let Source { url: source_url, login: login_in_url } = source?;
    let login = login.or(login_in_url);
    Some(Camera {
        id: id?,
        source_url,
        login,
        frames_per_s,
        frame_width_px_max,
        stall,
        model,
        labels,
        priority,
        enabled: true,
        detect: None,
        transport: Transport::Tcp,
        repeat: false,
        record: None,
        gear: None,
        motion_masks: Vec::new(),
        object_masks: Vec::new(),
        zones: Vec::new(),
        filters: Vec::new(),
        schedule: None,
    })
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

struct Source {
    url: String,
    login: Option<Login>,
}

fn source(s: &mut Section) -> Option<Source> {
    let text = s.require("url", URL_WAY_OUT).opt_with("url", URL_WAY_OUT, |text| Some(text.to_owned()))?;
    parse_url(&text).map_err(|way_out| s.fault("url", &safe_part(&text), &way_out)).ok()
}

/// As much of a wrong URL as surely holds no password: its scheme.
fn safe_part(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => format!("\"{scheme}://{HIDDEN}\""),
        _ => HIDDEN.to_owned(),
    }
}

/// The URL without its login, and the login; or the way out.
fn parse_url(text: &str) -> Result<Source, String> {
    let (scheme, rest) = text.split_once("://").ok_or(URL_WAY_OUT)?;
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("remove the spaces, or write each as %20".to_owned());
    }
    match scheme {
        "file" if rest.len() > 1 && rest.starts_with('/') => Ok(Source { url: text.to_owned(), login: None }),
        "file" => Err("write three slashes and the whole path: file:///path/to/video.mp4".to_owned()),
        "rtsp" | "rtsps" => parse_live(scheme, rest),
        other => Err(format!("{other} cannot be opened: {URL_WAY_OUT}")),
    }
}

fn parse_live(scheme: &str, rest: &str) -> Result<Source, String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // Passwords with a bare `@` are common; a host never has one, so the last one ends the login.
    let (userinfo, address) = match authority.rsplit_once('@') {
        Some((userinfo, address)) => (Some(userinfo), address),
        None => (None, authority),
    };
    if !is_address(address) {
        let way_out = format!("after {scheme}:// use host/path or host:port/path");
        let hint = "write /, ? and # in a password as %2F, %3F and %23, or use user and password_file";
        return Err(if rest.contains('@') { format!("{way_out}; {hint}") } else { way_out });
    }
    let login = userinfo.map(parse_login).transpose()?;
    Ok(Source { url: format!("{scheme}://{address}{path}"), login })
}

/// A host, with or without a port.
fn is_address(address: &str) -> bool {
    let with_port = format!("{address}:554");
    [address, &with_port].iter().any(|text| text.parse::<HostPort>().is_ok())
}

fn parse_login(userinfo: &str) -> Result<Login, String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    match (percent_decoded(user), percent_decoded(password)) {
        (Some(user), Some(password)) if !user.is_empty() => Ok(Login { user, password }),
        _ => Err("before the @ use user:password, with % written as %25".to_owned()),
    }
}

/// `p%40ss` as `p@ss`; `None` if a `%` is not followed by two hexadecimal digits, or it is no UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, url: &str, login: Option<(&str, &str)>) {
        let source = parse_url(text).expect(text);
        assert_eq!(source.url, url);
        let found = source.login.as_ref().map(|login| (login.user.as_str(), login.password.as_str()));
        assert_eq!(found, login, "{text}");
    }

    #[test]
    fn a_login_moves_out_of_the_url() {
        check("rtsp://admin:hunter2@10.0.0.5:554/live", "rtsp://10.0.0.5:554/live", Some(("admin", "hunter2")));
        check("rtsps://admin:p%40%C3%A9@cam/live?x=1", "rtsps://cam/live?x=1", Some(("admin", "p@é")));
        check("rtsp://admin:p@ss:word@[::1]:554", "rtsp://[::1]:554", Some(("admin", "p@ss:word")));
        check("rtsp://admin@cam/a@b", "rtsp://cam/a@b", Some(("admin", "")));
        check("rtsp://cam/live", "rtsp://cam/live", None);
        check("file:///srv/yard.mp4", "file:///srv/yard.mp4", None);
    }

    #[test]
    fn a_url_that_cannot_be_opened_is_refused() {
        let wrong = ["", "cam", "http://cam/live", "rtsp://", "rtsp://cam:x/", "rtsp://:p@cam/", "rtsp://u:p%zz@cam/"];
        for text in wrong.into_iter().chain(["file://yard.mp4", "file:///", "rtsp://c am/", "rtsp://u:a/b@cam/live"]) {
            assert!(parse_url(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn no_part_of_a_wrong_url_but_its_scheme_is_shown() {
        assert_eq!(safe_part("http://u:p@cam"), "\"http://***\"");
        assert_eq!(safe_part("admin:hunter2@cam"), "***");
    }
}
