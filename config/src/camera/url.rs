//! Where a camera is, as a URL: what can be opened, and the login that may be in it.

use crate::common::HostPort;
use crate::fault::HIDDEN;
use protocol::camera::Login;

pub(super) const WAY_OUT: &str = "use rtsp://host:port/path, rtsps://, http:// or https:// for MJPEG, /dev/video0, \
                                  or file:///path/to/video.mp4";

/// A longer one is refused: no camera has it.
const CHARS_MAX: usize = 2048;

pub(crate) struct Source {
    pub url: String,
    pub login: Option<Login>,
}

impl Source {
    /// The host and port that are dialled, if there are some.
    pub fn address(&self) -> Option<&str> {
        address(&self.url)
    }
}

/// Of a URL without its login.
fn address(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    is_live(scheme).then(|| rest.split(['/', '?', '#']).next().unwrap_or(rest))
}

/// The host that a URL as people write it leads to, with its port; `None` where no host is dialled.
pub(crate) fn host_port(text: &str) -> Option<String> {
    parse(text).ok()?.address().map(str::to_owned)
}

/// For people: without its login, and without what a query may hide.
pub(crate) fn shown(text: &str) -> String {
    let url = parse(text).map_or_else(|_| safe_part(text).replace('"', ""), |source| source.url);
    match url.split_once('?') {
        Some((before, _)) if !url.starts_with("test:") => format!("{before}?{HIDDEN}"),
        _ => url,
    }
}

/// Of a host with or without its port.
pub(crate) fn host(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => address,
    }
}

fn is_live(scheme: &str) -> bool {
    matches!(scheme, "rtsp" | "rtsps" | "http" | "https")
}

/// As much of a wrong URL as surely holds no password: its scheme.
pub(super) fn safe_part(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => format!("\"{scheme}://{HIDDEN}\""),
        _ => HIDDEN.to_owned(),
    }
}

/// The URL without its login, and the login; or the way out.
pub(crate) fn parse(text: &str) -> Result<Source, String> {
    if text.len() > CHARS_MAX {
        return Err(format!("shorten it to {CHARS_MAX} B"));
    }
    if let Some(device) = text.strip_prefix("v4l2://").or(Some(text)).filter(|device| device.starts_with("/dev/")) {
        return parse_device(device);
    }
    if let Some(scene) = text.strip_prefix("test:") {
        return parse_scene(text, scene);
    }
    let (scheme, rest) = text.split_once("://").ok_or(WAY_OUT)?;
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("remove the spaces, or write each as %20".to_owned());
    }
    match scheme {
        "file" if rest.len() > 1 && rest.starts_with('/') => Ok(Source { url: text.to_owned(), login: None }),
        "file" => Err("write three slashes and the whole path: file:///path/to/video.mp4".to_owned()),
        "v4l2" => parse_device(rest),
        live if is_live(live) => parse_live(scheme, rest),
        other => Err(format!("{other} cannot be opened: {WAY_OUT}")),
    }
}

fn parse_device(device: &str) -> Result<Source, String> {
    let is_plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.:".contains(&b));
    match device.strip_prefix("/dev/") {
        Some(name) if !name.is_empty() && is_plain(name) && !name.split('/').any(|part| part == "..") => {
            Ok(Source { url: format!("v4l2://{device}"), login: None })
        }
        _ => Err("name the device: /dev/video0, or one of /dev/v4l/by-id, whose names stay".to_owned()),
    }
}

/// A scene that the port draws.
fn parse_scene(text: &str, scene: &str) -> Result<Source, String> {
    let name = scene.split('?').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name || !scene.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("name a scene, such as test:ball".to_owned());
    }
    Ok(Source { url: text.to_owned(), login: None })
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
        let source = parse(text).expect(text);
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
        check("http://admin:x@cam:8080/mjpeg", "http://cam:8080/mjpeg", Some(("admin", "x")));
        check("file:///srv/yard.mp4", "file:///srv/yard.mp4", None);
        check("/dev/video0", "v4l2:///dev/video0", None);
        check("v4l2:///dev/v4l/by-id/usb-cam", "v4l2:///dev/v4l/by-id/usb-cam", None);
        check("test:ball?noise=1", "test:ball?noise=1", None);
    }

    #[test]
    fn a_url_that_cannot_be_opened_is_refused() {
        let wrong = ["", "cam", "ftp://cam/live", "rtsp://", "rtsp://cam:x/", "rtsp://:p@cam/", "rtsp://u:p%zz@cam/"];
        let odd = ["file://yard.mp4", "file:///", "rtsp://c am/", "rtsp://u:a/b@cam/live", "test:", "test:a b"];
        let devices = ["/dev/", "/etc/passwd", "v4l2:///etc/passwd", "/dev/../etc/passwd", "v4l2://video0"];
        for text in wrong.into_iter().chain(odd).chain(devices) {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn no_part_of_a_wrong_url_but_its_scheme_is_shown() {
        assert_eq!(safe_part("http://u:p@cam"), "\"http://***\"");
        assert_eq!(safe_part("admin:hunter2@cam"), "***");
    }

    #[test]
    fn the_address_of_a_url_is_what_is_dialled() {
        assert_eq!(host_port("rtsp://admin:p@ss@10.0.0.5:554/live").as_deref(), Some("10.0.0.5:554"));
        assert_eq!(host_port("http://cam?x=1").as_deref(), Some("cam"));
        assert_eq!(host_port("file:///srv/yard.mp4"), None);
    }
}
