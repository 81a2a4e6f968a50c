//! GStreamer's own log, out of the way: silent unless `GST_DEBUG` is set, and then through `tracing`.

use gstreamer::DebugLevel;
use gstreamer::log::{add_log_function, remove_default_log_function, set_default_threshold};

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
        let text = text.as_deref().map_or("", |text| text.as_str());
        match level {
            DebugLevel::Error => tracing::error!("gst {category} {function}:{line}: {text}"),
            DebugLevel::Warning => tracing::warn!("gst {category} {function}:{line}: {text}"),
            _ => tracing::info!("gst {category} {function}:{line}: {text}"),
        }
    });
}
