//! Why a source failed, from what GStreamer says, told with a way out and without a password.

use gstreamer as gst;
use gstreamer::glib;
use protocol::camera::{Source, SourceFault};
use protocol::limits::short_text;

/// What goes into `Report::Failed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub fault: SourceFault,
    pub text: String,
}

impl Trouble {
    /// `what` happened to the source and what to do about it; the text begins with the source's address.
    pub fn new(source: &Source, fault: SourceFault, what: &str) -> Self {
        let text = redact(&format!("{}: {what}", source.url), source);
        Self { fault, text: short_text(&text) }
    }

    pub fn from_error(source: &Source, error: &glib::Error, debug: Option<&str>) -> Self {
        let said = error.message();
        let debug = debug.unwrap_or_default();
        let fault = classify(error, debug);
        let is_file = source.url.starts_with("file:");
        // GStreamer's debug text ends with what the system said, after source position and element path.
        let reason = debug.lines().last().map(str::trim).filter(|line| !line.is_empty() && *line != said);
        let detail = reason.map_or_else(|| said.to_owned(), |reason| format!("{said} {reason}"));
        Self::new(source, fault, &format!("{} ({detail})", advice(fault, is_file)))
    }
}

/// The decision: what the operator has to look at.
pub fn classify(error: &glib::Error, debug: &str) -> SourceFault {
    use gst::{CoreError, ResourceError, StreamError};
    let text = format!("{} {debug}", error.message()).to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if error.matches(ResourceError::NotAuthorized) || says(&["unauthorized", "(401)"]) {
        SourceFault::Unauthorized
    } else if error.matches(CoreError::MissingPlugin) || error.matches(StreamError::CodecNotFound) {
        SourceFault::MissingPlugin
    } else if says(&["refused", "could not resolve", "error resolving", "no route", "unreachable"]) {
        SourceFault::Refused
    } else if error.matches(ResourceError::NotFound) || says(&["not found", "(404)"]) {
        SourceFault::NotFound
    } else if says(&["timeout", "timed out"]) {
        SourceFault::Silent
    } else if says(&["connection reset", "broken pipe", "connection closed", "end-of-file", "server closed"]) {
        SourceFault::Ended
    } else if error.matches(ResourceError::OpenRead) || error.matches(ResourceError::OpenReadWrite) {
        SourceFault::Refused
    } else if error.matches(ResourceError::Read) || error.matches(ResourceError::Write) {
        SourceFault::Ended
    } else {
        SourceFault::Unreadable
    }
}

fn advice(fault: SourceFault, is_file: bool) -> &'static str {
    match (fault, is_file) {
        (SourceFault::NotFound, true) => "there is no such file; check the path",
        (SourceFault::Refused | SourceFault::Ended, true) => "the file cannot be read; check its permissions",
        (SourceFault::Refused, false) => {
            "no RTSP server answers there; check that the camera is on, its host name and its port"
        }
        (SourceFault::NotFound, false) => "the camera has no such stream; check the path in its manual",
        (SourceFault::Unauthorized, _) => "the camera wants another user name or password; check login_file",
        (SourceFault::Silent, _) => "no answer; check that the camera is alive and the network lets it through",
        (SourceFault::Ended, false) => "the camera ended the stream; it is tried again",
        (SourceFault::Unreadable, _) => "this is no video that can be decoded; set the camera to H.264",
        (SourceFault::MissingPlugin, _) => {
            "a GStreamer plugin is missing; apt-get install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"
        }
    }
}

/// Takes out the password, wherever GStreamer may have repeated it, and any login written into the address.
pub fn redact(text: &str, source: &Source) -> String {
    let mut clean = text.to_owned();
    if let Some(login) = source.login.as_ref().filter(|login| !login.password.is_empty()) {
        clean = clean.replace(&login.password, "***");
    }
    let in_url = source.url.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'));
    if let Some((userinfo, _)) = in_url {
        clean = clean.replace(&format!("{userinfo}@"), "");
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst::{CoreError, ResourceError, StreamError};
    use protocol::camera::Login;

    fn source(url: &str) -> Source {
        let login = Some(Login { user: "admin".to_owned(), password: "s3cret".to_owned() });
        Source {
            url: url.to_owned(),
            login,
            frames_per_s: 5.0,
            frame_width_px_max: 640,
            stall_ms: 1500,
            every_frame: false,
        }
    }

    fn check(error: glib::Error, debug: &str, fault: SourceFault) {
        assert_eq!(classify(&error, debug), fault, "{error} / {debug}");
    }

    #[test]
    fn each_error_is_told_as_what_the_operator_can_do_about_it() {
        use glib::Error as E;
        check(E::new(ResourceError::NotAuthorized, "Unauthorized"), "", SourceFault::Unauthorized);
        check(E::new(ResourceError::OpenRead, "Failed"), "Unauthorized (401)", SourceFault::Unauthorized);
        check(E::new(ResourceError::NotFound, "Not found"), "", SourceFault::NotFound);
        check(E::new(ResourceError::Settings, "Failed"), "Not Found (404)", SourceFault::NotFound);
        let refused = "Failed to connect. (Could not connect to 127.0.0.1: Connection refused)";
        check(E::new(ResourceError::OpenReadWrite, "Could not open resource"), refused, SourceFault::Refused);
        let lost = "Error resolving \"camera.lan\": Name or service not known";
        check(E::new(ResourceError::NotFound, "Resource not found."), lost, SourceFault::Refused);
        let slow = "Failed to connect. (Timeout while waiting for server response)";
        check(E::new(ResourceError::OpenReadWrite, "Could not open resource"), slow, SourceFault::Silent);
        check(E::new(ResourceError::Read, "Could not read"), "Connection reset by peer", SourceFault::Ended);
        check(E::new(ResourceError::Write, "Could not write"), "", SourceFault::Ended);
        check(E::new(StreamError::TypeNotFound, "not a video"), "", SourceFault::Unreadable);
        check(E::new(StreamError::Demux, "no known streams"), "", SourceFault::Unreadable);
        check(E::new(StreamError::CodecNotFound, "no decoder"), "", SourceFault::MissingPlugin);
        check(E::new(CoreError::MissingPlugin, "missing element"), "", SourceFault::MissingPlugin);
    }

    #[test]
    fn the_text_names_the_camera_and_a_way_out() {
        let error = glib::Error::new(ResourceError::NotAuthorized, "Unauthorized");
        let trouble = Trouble::from_error(&source("rtsp://cam.lan/main"), &error, None);
        assert!(trouble.text.starts_with("rtsp://cam.lan/main: ") && trouble.text.contains("login_file"));
    }

    #[test]
    fn no_credential_reaches_the_text() {
        let source = source("rtsp://bob:hunter2@cam.lan/main");
        let error = glib::Error::new(ResourceError::Read, "failed for rtsp://bob:hunter2@cam.lan/main with s3cret");
        let text = Trouble::from_error(&source, &error, Some("pw=s3cret")).text;
        assert!(!text.contains("s3cret") && !text.contains("hunter2") && !text.contains("bob"), "{text}");
        assert!(text.contains("cam.lan/main"), "{text}");
    }

    #[test]
    fn a_file_gets_a_file_s_advice() {
        let error = glib::Error::new(ResourceError::NotFound, "Resource not found.");
        let text = Trouble::from_error(&source("file:///a.mp4"), &error, Some("No such file \"/a.mp4\"")).text;
        assert!(text.contains("check the path") && text.contains("No such file"), "{text}");
    }
}
