//! The cameras of an edge, as people list and change them.
//!
//!   watchtree camera set EDGE/CAMERA KEY=VALUE ──▶ relay ──▶ edge: the overlay beside its own file

use crate::CameraId;
use crate::limits;
use serde::{Deserialize, Serialize};

/// A change of one camera. It counts over what the edge's own file says, which is never rewritten.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraChange {
    /// These keys, in TOML, as they stand in a camera's section; zones one by one, by their names. A camera that is not
    /// there is added.
    Set { toml: String },
    /// The camera, or these of its keys: `labels`, `zones.gate`.
    Remove { keys: Vec<String> },
    /// What was changed is taken back: of the camera, or of these keys.
    Reset { keys: Vec<String> },
}

impl CameraChange {
    /// For logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Remove { .. } => "remove",
            Self::Reset { .. } => "reset",
        }
    }
}

/// A password may be in the text.
impl std::fmt::Debug for CameraChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Set { toml } => write!(f, "Set({} B)", toml.len()),
            Self::Remove { keys } => write!(f, "Remove({keys:?})"),
            Self::Reset { keys } => write!(f, "Reset({keys:?})"),
        }
    }
}

/// One camera, as its edge has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraSheet {
    pub camera: CameraId,
    /// `sees`, `blind`, `disabled`, `removed` (by the API; the edge's own file has it), `incomplete` (changed by the
    /// API, and the edge's own file does not have it any more).
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// Without a login.
    pub url: String,
    /// Keys that were changed through the API.
    pub changed: Vec<String>,
    /// Its section as it counts, without secrets; in a list of all cameras `None`.
    pub toml: Option<String>,
}

impl CameraSheet {
    /// Cut to what a message has room for.
    pub fn short(mut self) -> Self {
        self.state = limits::short(&self.state, limits::WORD_CHARS_MAX);
        self.reason = self.reason.map(|reason| limits::short_text(&reason));
        self.url = limits::short_text(&self.url);
        self.changed.truncate(limits::CAMERA_KEYS_MAX);
        self.changed.iter_mut().for_each(|key| *key = limits::short(key, limits::WORD_CHARS_MAX));
        if self.toml.as_ref().is_some_and(|toml| toml.len() > limits::CAMERA_TOML_BYTES_MAX) {
            self.toml = Some("# too long to be shown".to_owned());
        }
        self
    }
}
