//! Gears of a camera whose pictures are counted off: fifteen a second, a key frame each two seconds, five looked at.

use super::*;

const UNITS_PER_S: u32 = 15;
const GROUP: u32 = 30;
const IDLE: Gear = Gear::Idle { every_ms: 4000 };

struct Camera {
    core: Core,
    units: u32,
    /// Bytes of a picture that is no key frame.
    bytes: u32,
    moving: bool,
    learning: bool,
    followed: bool,
    /// Key frames are decoded.
    decodes: bool,
    looked: Duration,
}

impl Camera {
    fn new(settings: Gears) -> Self {
        let (core, looked) = (Core::new(settings), Duration::ZERO);
        Self { core, units: 0, bytes: 2000, moving: false, learning: false, followed: false, decodes: true, looked }
    }

    /// One that has gone to the idle gear.
    fn idle() -> Self {
        let mut camera = Self::new(Gears::default());
        camera.core.opened(Duration::ZERO);
        camera.run_s(12);
        assert_eq!(camera.core.gear(), IDLE);
        camera
    }

    fn at(&self) -> Duration {
        Duration::from_secs(1) * self.units / UNITS_PER_S
    }

    /// One picture, and the frame that comes of it.
    fn step(&mut self) -> Said {
        let (at, key) = (self.at(), self.units.is_multiple_of(GROUP));
        // A little noise.
        let bytes = if key { 40_000 } else { self.bytes + self.units * 7919 % 101 };
        let said = self.core.unit(at, key, bytes);
        let looks = match self.core.gear() {
            Gear::Passthrough => false,
            Gear::Idle { every_ms } => key && at >= self.looked + Duration::from_millis(every_ms.into()),
            Gear::Awake => self.units.is_multiple_of(UNITS_PER_S / 5),
        };
        if looks && self.decodes {
            self.looked = at;
            self.core.frame(at, self.moving, self.learning);
            if self.followed {
                self.core.attention(at);
            }
        }
        self.units += 1;
        said
    }

    fn run_s(&mut self, s: u32) {
        for _ in 0..s * UNITS_PER_S {
            self.step();
        }
    }

    /// Pictures until it is awake.
    fn wakes_within(&mut self, units: u32) -> Option<u32> {
        (1..=units).find(|_| {
            self.step();
            self.core.gear() == Gear::Awake
        })
    }
}

#[test]
fn a_quiet_camera_goes_idle_and_stays_so() {
    let mut camera = Camera::idle();
    assert_eq!(camera.wakes_within(UNITS_PER_S * 3600), None);
}

#[test]
fn larger_pictures_wake_it_at_once() {
    let mut camera = Camera::idle();
    camera.units = GROUP * 10 + 10;
    camera.bytes = 5000;
    assert!(camera.wakes_within(3).is_some());
    assert_eq!((camera.core.woken(), camera.core.woken()), (Some(Why::Size), None));
}

#[test]
fn one_large_picture_is_none() {
    let mut camera = Camera::idle();
    camera.units = GROUP * 10 + 10;
    camera.bytes = 5000;
    camera.step();
    camera.bytes = 2000;
    assert_eq!(camera.wakes_within(100), None);
}

#[test]
fn a_key_frame_with_motion_wakes_it_whatever_sizes_say() {
    let mut camera = Camera::idle();
    camera.moving = true;
    assert!(camera.wakes_within(4 * UNITS_PER_S + GROUP).is_some());
    assert_eq!(camera.core.woken(), Some(Why::Motion));
}

#[test]
fn a_change_of_light_wakes_it_until_that_is_learnt() {
    let mut camera = Camera::idle();
    camera.learning = true;
    assert!(camera.wakes_within(4 * UNITS_PER_S + GROUP).is_some());
    assert_eq!(camera.core.woken(), Some(Why::Light));
    camera.run_s(60);
    assert_eq!(camera.core.gear(), Gear::Awake);
    camera.learning = false;
    camera.run_s(1);
    assert_eq!(camera.core.gear(), IDLE);
}

#[test]
fn it_stays_awake_while_something_moves_or_is_followed_and_ten_seconds_longer() {
    for (moving, followed) in [(true, false), (false, true)] {
        let mut camera = Camera::new(Gears::default());
        (camera.moving, camera.followed) = (moving, followed);
        camera.run_s(60);
        assert_eq!(camera.core.gear(), Gear::Awake, "moving: {moving}");
        (camera.moving, camera.followed) = (false, false);
        camera.run_s(9);
        assert_eq!(camera.core.gear(), Gear::Awake);
        camera.run_s(2);
        assert_eq!(camera.core.gear(), IDLE);
    }
}

#[test]
fn what_is_followed_wakes_it() {
    let mut camera = Camera::idle();
    camera.core.attention(camera.at());
    assert_eq!((camera.core.gear(), camera.core.woken()), (Gear::Awake, Some(Why::Attention)));
}

#[test]
fn a_source_that_is_opened_again_is_looked_at_awake_and_its_sizes_learnt_anew() {
    let mut camera = Camera::idle();
    camera.core.opened(camera.at());
    assert_eq!(camera.core.gear(), Gear::Awake);
    assert!((0..GROUP).all(|_| camera.step() == Said::Nothing));
    camera.run_s(12);
    assert_eq!(camera.core.gear(), IDLE);
}

#[test]
fn without_sizes_it_stays_awake_unless_they_are_turned_off() {
    let calm = |core: &mut Core| (0..300).for_each(|s| core.frame(Duration::from_secs(s), false, false));
    let mut core = Core::new(Gears::default());
    calm(&mut core);
    assert_eq!((core.gear(), core.looks_apart()), (Gear::Awake, None), "no picture's size was told");
    let mut core = Core::new(Gears { size_ratio: 0.0, ..Gears::default() });
    calm(&mut core);
    let at = Duration::from_secs(300);
    core.unit(at, true, 9);
    core.unit(at + Duration::from_secs(2), true, 9);
    assert_eq!((core.gear(), core.looks_apart()), (IDLE, Some(Duration::from_secs(6))));
}

#[test]
fn pictures_that_are_all_key_frames_say_nothing_so_it_stays_awake() {
    let mut core = Core::new(Gears::default());
    for unit in 0..1500 {
        let at = Duration::from_millis(unit * 66);
        assert_eq!(core.unit(at, true, 30_000), Said::Nothing);
        core.frame(at, false, false);
    }
    assert_eq!(core.gear(), Gear::Awake);
}

#[test]
fn key_frames_that_bring_no_picture_wake_it() {
    let mut camera = Camera::idle();
    camera.decodes = false;
    assert!(camera.wakes_within(UNITS_PER_S * 20).is_some());
    assert_eq!(camera.core.woken(), Some(Why::Unseen));
    camera.run_s(60);
    assert_eq!(camera.core.gear(), Gear::Awake);
}

#[test]
fn the_mode_that_is_set_is_the_gear() {
    for (mode, gear) in [(GearMode::Awake, Gear::Awake), (GearMode::Passthrough, Gear::Passthrough)] {
        let mut camera = Camera::new(Gears { mode, ..Gears::default() });
        camera.run_s(60);
        camera.moving = true;
        camera.run_s(1);
        assert_eq!(camera.core.gear(), gear);
        assert_eq!(camera.step(), Said::Nothing);
    }
}

#[test]
fn the_gear_is_followed_as_it_changes() {
    let gears = Gearbox::new(Gears { idle_after: Duration::ZERO, size_ratio: 0.0, ..Gears::default() });
    let mut follower = gears.follow();
    gears.opened();
    assert!(!follower.has_changed().expect("the gearbox is there"));
    gears.frame(false, false);
    assert!(follower.has_changed().expect("the gearbox is there"));
    assert_eq!((*follower.borrow_and_update(), gears.gear()), (IDLE, IDLE));
    gears.frame(false, false);
    assert!(!follower.has_changed().expect("the gearbox is there"));
    gears.attention();
    assert_eq!((*follower.borrow_and_update(), gears.woken()), (Gear::Awake, Some(Why::Attention)));
}
