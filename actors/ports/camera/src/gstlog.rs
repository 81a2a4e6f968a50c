//! GStreamer's own log, out of the way: silent unless `GST_DEBUG` is set, and then through `tracing`.

use gstreamer::DebugLevel;
use gstreamer::log::{add_log_function, remove_default_log_function, set_default_threshold};

use protocol::camera::{Login, Source};
use std::sync::OnceLock;

/// What must not stand in a log, longest first.
static SECRETS: OnceLock<Vec<String>> = OnceLock::new();

/// GStreamer logs the requests it sends. Call before anything is opened.
pub fn hide(source: &Source) {
    let logins = source.login.iter().chain(source.detect.iter().filter_map(|detect| detect.login.as_ref()));
    let mut secrets: Vec<_> = logins.flat_map(|login| [login.password.clone(), basic(login)]).collect();
    secrets.retain(|secret| !secret.is_empty());
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let _ = SECRETS.set(secrets);
}

fn hidden(text: &str) -> String {
    let secrets = SECRETS.get().map(Vec::as_slice).unwrap_or_default();
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

/// As it stands in the header of basic authentication: base64.
fn basic(login: &Login) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let plain = format!("{}:{}", login.user, login.password);
    let group = |bytes: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(bytes.get(i).copied().unwrap_or(0)));
        let digit = move |i: u32| DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char;
        (0..=bytes.len() as u32).map(digit).collect::<String>()
    };
    plain.as_bytes().chunks(3).map(group).collect()
}

/// Call after `gst::init`.
pub fn bridge() {
    remove_default_log_function();
    if std::env::var_os("GST_DEBUG").is_none() {
        // What matters arrives on the bus; the log repeats it without telling failure from noise.
        set_default_threshold(DebugLevel::None);
        return;
    }
    add_log_function(|category, level, _, function, line, _, message| {
        let (category, text) = (category.name(), message.get());
        let text = hidden(text.as_deref().map_or("", |text| text.as_str()));
        match level {
            DebugLevel::Error => tracing::error!("gst {category} {function}:{line}: {text}"),
            DebugLevel::Warning => tracing::warn!("gst {category} {function}:{line}: {text}"),
            _ => tracing::info!("gst {category} {function}:{line}: {text}"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_log_shows_a_password_in_either_form() {
        let login = |user: &str, password: &str| Login { user: user.to_owned(), password: password.to_owned() };
        assert_eq!(basic(&login("Aladdin", "open sesame")), "QWxhZGRpbjpvcGVuIHNlc2FtZQ");
        hide(&Source { login: Some(login("Aladdin", "open sesame")), ..Source::new("rtsp://cam/") });
        let text = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, user-pw=open sesame";
        assert_eq!(hidden(text), "Authorization: Basic ***==, user-pw=***");
    }
}
