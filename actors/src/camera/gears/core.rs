//! Core: which gear a camera is to be in. Pure: times are given, counted from any moment.

use super::sizes::{Said, Sizes};
use config::watching::{GearMode, Gears};
use protocol::camera::Gear;
use std::time::Duration;

/// Sizes are learnt from when nothing has moved for so long: what is leaving moves too little for a verdict at last.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// So many key frames that were to be looked at brought no picture: the camera is woken, to find out why.
const UNSEEN_MAX: u32 = 3;

/// Key frames as far apart as this are no rhythm.
const KEYS_APART_MAX: Duration = Duration::from_secs(60);

/// Why a camera was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The sizes of encoded pictures.
    Size,
    /// A key frame showed motion.
    Motion,
    /// The light has changed: it has to be learnt anew.
    Light,
    /// Something is followed.
    Attention,
    /// Key frames come, and no pictures of them.
    Unseen,
    /// The source was opened anew.
    Opened,
}

impl Why {
    #[cfg(test)]
    pub const ALL: [Self; 6] = [Self::Size, Self::Motion, Self::Light, Self::Attention, Self::Unseen, Self::Opened];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Motion => "motion",
            Self::Light => "light",
            Self::Attention => "attention",
            Self::Unseen => "unseen",
            Self::Opened => "opened",
        }
    }
}

pub(super) struct Core {
    settings: Gears,
    idle: bool,
    sizes: Sizes,
    /// When anything last spoke against being idle.
    active: Duration,
    moved: Option<Duration>,
    woken: Option<Why>,
    /// Nothing has moved since sizes woke the camera.
    doubtful: bool,
    keys: Keys,
}

/// The key frames that came.
#[derive(Default)]
struct Keys {
    last: Option<Duration>,
    apart: Duration,
    /// Those that were to be looked at since the last picture, and the latest of them.
    unseen: u32,
    unseen_at: Duration,
}

impl Core {
    pub(super) fn new(settings: Gears) -> Self {
        let sizes = Sizes::new(settings.size_ratio);
        Self {
            settings,
            idle: false,
            sizes,
            active: Duration::ZERO,
            moved: None,
            woken: None,
            doubtful: false,
            keys: Keys::default(),
        }
    }

    pub(super) fn gear(&self) -> Gear {
        match self.settings.mode {
            GearMode::Passthrough => Gear::Passthrough,
            GearMode::Auto if self.idle => {
                let every_ms = u32::try_from(self.settings.look_every.as_millis()).unwrap_or(u32::MAX);
                Gear::Idle { every_ms }
            }
            GearMode::Auto | GearMode::Awake => Gear::Awake,
        }
    }

    /// Why it was woken, since this was last asked.
    pub(super) fn woken(&mut self) -> Option<Why> {
        self.woken.take()
    }

    /// A source begins: it may show something else than before, and other sizes.
    pub(super) fn opened(&mut self, at: Duration) {
        self.wake(at, Why::Opened);
        (self.active, self.moved, self.doubtful, self.keys) = (at, None, false, Keys::default());
        self.sizes.forget();
    }

    /// A picture came, in decoding order, of the stream that is decoded.
    pub(super) fn unit(&mut self, at: Duration, key: bool, bytes: u32) -> Said {
        if self.settings.mode != GearMode::Auto {
            return Said::Nothing;
        }
        if key {
            self.key(at);
        }
        if !self.uses_sizes() {
            return Said::Nothing;
        }
        let said = self.sizes.see(at, key, bytes);
        let quiet = self.moved.is_none_or(|moved| at.saturating_sub(moved) >= QUIET_AFTER);
        if self.idle && said == Said::Unusual {
            self.wake(at, Why::Size);
            self.doubtful = true;
        } else if quiet {
            self.sizes.learn();
        }
        said
    }

    fn key(&mut self, at: Duration) {
        let keys = &mut self.keys;
        let apart = keys.last.map(|last| at.saturating_sub(last));
        keys.apart = apart.unwrap_or_default().min(KEYS_APART_MAX);
        keys.last = Some(at);
        if self.idle && at.saturating_sub(keys.unseen_at) >= self.settings.look_every {
            (keys.unseen, keys.unseen_at) = (keys.unseen + 1, at);
            if keys.unseen > UNSEEN_MAX {
                self.wake(at, Why::Unseen);
            }
        }
    }

    /// Motion was judged on a picture. `learning`: it could not say yet.
    pub(super) fn frame(&mut self, at: Duration, moving: bool, learning: bool) {
        self.keys.unseen = 0;
        if moving {
            (self.active, self.moved, self.doubtful) = (at, Some(at), false);
            self.sizes.moved();
        }
        if self.idle && (moving || learning) {
            self.wake(at, if moving { Why::Motion } else { Why::Light });
        }
        let calm = at.saturating_sub(self.active) >= self.settings.idle_after;
        let tells = !self.uses_sizes() || self.sizes.learnt();
        if !(self.idle || moving || learning) && calm && tells && self.settings.mode == GearMode::Auto {
            self.rest(at);
        }
    }

    /// Something is followed that has to be looked at.
    pub(super) fn attention(&mut self, at: Duration) {
        self.wake(at, Why::Attention);
        self.active = at;
    }

    /// In the idle gear, without sizes: the longest that two looks are apart.
    pub(super) fn looks_apart(&self) -> Option<Duration> {
        (self.idle && !self.uses_sizes()).then(|| self.settings.look_every + self.keys.apart)
    }

    fn uses_sizes(&self) -> bool {
        self.settings.size_ratio > 0.0
    }

    fn rest(&mut self, at: Duration) {
        self.idle = true;
        (self.keys.unseen, self.keys.unseen_at) = (0, at);
        if std::mem::take(&mut self.doubtful) {
            self.sizes.was_false(at);
        }
    }

    fn wake(&mut self, at: Duration, why: Why) {
        if std::mem::take(&mut self.idle) {
            (self.active, self.woken) = (at, Some(why));
        }
    }
}
