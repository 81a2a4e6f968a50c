//! Why a session failed, and whose fault it is: told with a way out and without a password.
//!
//!   GStreamer's error ─▶ [fault] ─▶ the source's: `Report::Failed`, tried again for ever
//!                           └─▶ ours: the port ends with it, and is parked if it does so too often

use crate::address::Kind;
use gstreamer as gst;
use gstreamer::glib;
use protocol::camera::{Source, SourceFault};
use protocol::limits::short_text;

/// Why a session ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Source(Trouble),
    /// This port's or its installation's: another try at the same camera mends nothing.
    Ours(String),
}

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
}

impl Fault {
    /// `decodes`: whether the decoder has understood what came.
    pub fn from_error(source: &Source, error: &glib::Error, debug: Option<&str>, decodes: bool) -> Self {
        let said = error.message();
        let debug = debug.unwrap_or_default();
        // GStreamer's debug text ends with what the system said, after source position and element path.
        let reason = debug.lines().last().map(str::trim).filter(|line| !line.is_empty() && *line != said);
        let detail = reason.map_or_else(|| said.to_owned(), |reason| format!("{said} {reason}"));
        match classify(error, debug, decodes) {
            Some(fault) => {
                let advice = advice(fault, Kind::of(&source.url));
                Self::Source(Trouble::new(source, fault, &format!("{advice} ({detail})")))
            }
            None => Self::Ours(redact(
                &format!("the pipeline failed and not the camera; GST_DEBUG=3 on the node says more: {detail}"),
                source,
            )),
        }
    }
}

/// The decision: what the operator has to look at at the source. `None`: the source has no part in it.
pub fn classify(error: &glib::Error, debug: &str, decodes: bool) -> Option<SourceFault> {
    use gst::{ResourceError, StreamError};
    if let Some(kind) = error.kind::<ResourceError>() {
        let text = format!("{} {debug}", error.message()).to_lowercase();
        return (kind != ResourceError::NoSpaceLeft).then(|| of_resource(kind, &text));
    }
    match error.kind::<StreamError>()? {
        // Somebody in the pipeline took no more. Codec data that is garbage is found by the decoder's refusal; once
        // it has told what comes out, the refusal came from behind it.
        StreamError::Failed if decodes => None,
        StreamError::Encode | StreamError::Mux => None,
        _ => Some(SourceFault::Unreadable),
    }
}

/// rtspsrc tells a lost connection, a server's refusal and an answer that is none alike.
fn of_resource(kind: gst::ResourceError, text: &str) -> SourceFault {
    use gst::ResourceError;
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if kind == ResourceError::NotAuthorized || says(&["unauthorized", "(401)", "(403)"]) {
        SourceFault::Unauthorized
    } else if says(&["refused", "could not resolve", "error resolving", "no route", "unreachable"]) {
        SourceFault::Refused
    } else if kind == ResourceError::NotFound || says(&["not found", "(404)"]) {
        SourceFault::NotFound
    } else if says(&["timeout", "timed out", "any udp packets"]) {
        SourceFault::Silent
    } else if says(&["connection reset", "broken pipe", "connection closed", "end-of-file", "server closed"]) {
        SourceFault::Ended
    } else {
        match kind {
            ResourceError::OpenRead | ResourceError::OpenReadWrite | ResourceError::Busy => SourceFault::Refused,
            ResourceError::Read | ResourceError::Write => SourceFault::Ended,
            _ => SourceFault::Unreadable,
        }
    }
}

fn advice(fault: SourceFault, kind: Option<Kind>) -> &'static str {
    match (fault, kind) {
        (SourceFault::NotFound, Some(Kind::File)) => "there is no such file; check the path",
        (SourceFault::Refused | SourceFault::Ended, Some(Kind::File)) => {
            "the file cannot be read; check its permissions"
        }
        (SourceFault::NotFound, Some(Kind::Device)) => "there is no such device; it is opened when it is plugged in",
        (SourceFault::Refused, Some(Kind::Device)) => {
            "the device cannot be opened; check that no other program uses it, and its permissions (group video)"
        }
        (SourceFault::Refused, _) => "no server answers there; check that the camera is on, its host name and its port",
        (SourceFault::NotFound, _) => "the camera has no such stream; check the path in its manual",
        (SourceFault::Unauthorized, _) => "the camera wants another user name or password; check login_file",
        (SourceFault::Silent, _) => "no answer; check that the camera is alive and the network lets it through",
        (SourceFault::Ended, _) => "the camera ended the stream; it is tried again",
        (SourceFault::Forbidden, _) => "sources.allow does not allow that address",
        (SourceFault::Unreadable, _) => "this is no video that can be decoded; set the camera to H.264",
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
    use gst::{CoreError, LibraryError, ResourceError, StreamError};
    use protocol::camera::Login;

    fn source(url: &str) -> Source {
        let login = Some(Login { user: "admin".to_owned(), password: "s3cret".to_owned() });
        Source { login, ..Source::new(url) }
    }

    /// Before anything was decoded.
    fn check(error: glib::Error, debug: &str, fault: SourceFault) {
        assert_eq!(classify(&error, debug, false), Some(fault), "{error} / {debug}");
    }

    #[test]
    fn each_error_of_a_source_is_told_as_what_the_operator_can_do_about_it() {
        use glib::Error as E;
        check(E::new(ResourceError::NotAuthorized, "Unauthorized"), "", SourceFault::Unauthorized);
        check(E::new(ResourceError::OpenRead, "Failed"), "Unauthorized (401)", SourceFault::Unauthorized);
        check(E::new(ResourceError::Read, "Unhandled error"), "Forbidden (403)", SourceFault::Unauthorized);
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
    }

    /// As rtspsrc, parsebin and the depayloaders of GStreamer 1.22 say them, when a server was killed, a connection was
    /// cut or garbled, and streams came that hold no H.264.
    #[test]
    fn what_a_network_or_a_strange_camera_does_is_no_fault_of_ours() {
        use glib::Error as E;
        let read = |reason: &str| (E::new(ResourceError::Read, "Could not read from resource."), reason.to_owned());
        for reason in ["(System error)", "(Parse error)", "(Received end-of-file)"] {
            let (error, debug) = read(&format!("Could not receive message. {reason}"));
            check(error, &debug, SourceFault::Ended);
        }
        check(E::new(ResourceError::Read, "Unhandled error"), "Service Unavailable (503)", SourceFault::Ended);
        let bandwidth = "Error (453): Not Enough Bandwidth";
        check(E::new(ResourceError::Write, "Could not write to resource."), bandwidth, SourceFault::Ended);
        check(E::new(ResourceError::Settings, "Failed"), "SDP contains no streams", SourceFault::Unreadable);
        check(E::new(StreamError::CodecNotFound, "No supported stream was found."), "", SourceFault::Unreadable);
        check(
            E::new(StreamError::Format, "wrong format"),
            "NAL unit type 26 not supported yet",
            SourceFault::Unreadable,
        );
        let flow = |reason: &str| format!("streaming stopped, reason {reason}");
        let stopped = || E::new(StreamError::Failed, "Internal data stream error.");
        check(stopped(), &flow("not-linked (-1)"), SourceFault::Unreadable);
        check(stopped(), &flow("not-negotiated (-4)"), SourceFault::Unreadable);
    }

    #[test]
    fn what_our_own_pipeline_does_is_no_fault_of_the_source() {
        use glib::Error as E;
        let ours =
            |error: E, decodes| assert_eq!(classify(&error, "reason not-negotiated (-4)", decodes), None, "{error}");
        ours(E::new(StreamError::Failed, "Internal data stream error."), true);
        for decodes in [false, true] {
            ours(E::new(CoreError::MissingPlugin, "missing element"), decodes);
            ours(E::new(CoreError::StateChange, "failed"), decodes);
            ours(E::new(CoreError::Negotiation, "failed"), decodes);
            ours(E::new(LibraryError::Init, "no decoder"), decodes);
            ours(E::new(ResourceError::NoSpaceLeft, "no memory"), decodes);
        }
        // A stream that turns bad is the source's also after a good beginning.
        assert_eq!(classify(&E::new(StreamError::Decode, "garbage"), "", true), Some(SourceFault::Unreadable));
    }

    fn text(source: &Source, error: &glib::Error, debug: Option<&str>) -> String {
        match Fault::from_error(source, error, debug, true) {
            Fault::Source(trouble) => trouble.text,
            Fault::Ours(text) => text,
        }
    }

    #[test]
    fn the_text_names_the_camera_and_a_way_out() {
        let error = glib::Error::new(ResourceError::NotAuthorized, "Unauthorized");
        let text = text(&source("rtsp://cam.lan/main"), &error, None);
        assert!(text.starts_with("rtsp://cam.lan/main: ") && text.contains("login_file"), "{text}");
    }

    #[test]
    fn no_credential_reaches_the_text() {
        let source = source("rtsp://bob:hunter2@cam.lan/main");
        for ours in [false, true] {
            let said = "failed for rtsp://bob:hunter2@cam.lan/main with s3cret";
            let error =
                if ours { glib::Error::new(CoreError::Pad, said) } else { glib::Error::new(ResourceError::Read, said) };
            let text = text(&source, &error, Some("pw=s3cret"));
            assert!(!text.contains("s3cret") && !text.contains("hunter2") && !text.contains("bob"), "{text}");
            assert!(text.contains("cam.lan/main"), "{text}");
        }
    }

    #[test]
    fn a_file_gets_a_file_s_advice() {
        let error = glib::Error::new(ResourceError::NotFound, "Resource not found.");
        let text = text(&source("file:///a.mp4"), &error, Some("No such file \"/a.mp4\""));
        assert!(text.contains("check the path") && text.contains("No such file"), "{text}");
    }
}
