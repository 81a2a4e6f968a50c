//! What the watchdog says, without waiting for whoever does not listen.

use super::EXIT_BLOCKED;
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tracing::error;

const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);
/// Lines that wait for the log.
const UNSAID_MAX: usize = 256;

/// Last words may need the very disk or pipe that stands: they have a second.
pub(super) fn exit_after(last_words: impl FnOnce() + Send + 'static) -> ! {
    let (done, spoken) = sync_channel(1);
    let words = std::thread::Builder::new().name("last-words".to_owned()).spawn(move || {
        last_words();
        let _ = done.send(());
    });
    if words.is_ok() {
        let _ = spoken.recv_timeout(LAST_WORDS_WITHIN);
    }
    std::process::exit(EXIT_BLOCKED)
}

/// A log that nobody reads blocks who writes to it: that is not to be the watchdog.
pub(super) fn say(line: String) {
    static SPEAKER: OnceLock<Option<SyncSender<String>>> = OnceLock::new();
    let speaker = SPEAKER.get_or_init(|| {
        let (lines, inbox) = sync_channel::<String>(UNSAID_MAX);
        let speak = move || inbox.into_iter().for_each(|line| error!("{line}"));
        std::thread::Builder::new().name("watchdog-says".to_owned()).spawn(speak).ok().map(|_| lines)
    });
    // When full, the line is lost; the history has the failure.
    speaker.as_ref().map(|lines| lines.try_send(line));
}
