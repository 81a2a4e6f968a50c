//! One fault at a time: what state it makes, and how it is told.

use super::*;
use crate::fleet::samples::telemetry;
use protocol::telemetry::SpoolFigures;

const GIB: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(24 * 3600);

fn wall() -> Timestamp {
    Timestamp::from_micros(1_795_199_400_000_000)
}

fn well(telemetry: &Telemetry) -> Case<'_> {
    Case {
        link: Link::Tells,
        silent: Duration::from_secs(1),
        packets_silent: Duration::ZERO,
        ready: Some(true),
        telemetry: Some(telemetry),
        untold: Duration::from_secs(3),
        skew_ms: Some(20),
        wall: wall(),
    }
}

#[track_caller]
fn check(state: HealthState, told: &[&str], change: impl FnOnce(&mut Case<'_>)) {
    let telemetry = telemetry(wall());
    let mut case = well(&telemetry);
    change(&mut case);
    told_as(state, told, &case);
}

#[track_caller]
fn check_told(state: HealthState, told: &[&str], change: impl FnOnce(&mut Telemetry)) {
    let mut telemetry = telemetry(wall());
    change(&mut telemetry);
    told_as(state, told, &well(&telemetry));
}

#[track_caller]
fn told_as(state: HealthState, told: &[&str], case: &Case<'_>) {
    let (found, whys) = judge(case);
    let whys: Vec<String> = whys.iter().map(ToString::to_string).collect();
    assert_eq!((found, whys.iter().map(String::as_str).collect::<Vec<_>>()), (state, told.to_vec()));
}

use HealthState::{Degraded, Down, Healthy};

#[test]
fn a_node_that_is_well_is_healthy_and_that_is_all() {
    check(Healthy, &[], |_| {});
    check(Healthy, &[], |case| case.telemetry = None);
}

#[test]
fn a_silent_node_is_down_after_five_seconds_and_a_live_transport_buys_one_beat() {
    let silent = |silent_ms: u64, packets_ms: u64| {
        move |case: &mut Case<'_>| {
            case.silent = Duration::from_millis(silent_ms);
            case.packets_silent = Duration::from_millis(packets_ms);
        }
    };
    check(Healthy, &[], silent(4999, 4999));
    check(Down, &["nothing was heard of it for 5 s"], silent(5000, 5000));
    check(Healthy, &[], silent(6900, 900));
    check(Down, &["nothing was heard of it for 7 s"], silent(7000, 900));
}

#[test]
fn a_node_whose_link_is_gone_is_down_at_once_and_says_how_it_went() {
    check(Down, &["it stopped in good order"], |case| case.link = Link::Stopped);
    let lost = "nothing was heard of it for 1 s; its link ended: timed out";
    check(Down, &[lost], |case| case.link = Link::Lost { why: "timed out" });
}

#[test]
fn a_node_that_tells_nothing_is_judged_by_its_link_alone_and_says_so() {
    let alone = |packets_s: u64| {
        move |case: &mut Case<'_>| {
            (case.link, case.telemetry, case.ready) = (Link::Alone, None, None);
            (case.silent, case.untold, case.packets_silent) = (DAY, DAY, Duration::from_secs(packets_s));
        }
    };
    check(Healthy, &["it tells this node nothing of itself: judged by its link alone"], alone(1));
    check(Down, &["nothing was heard of it for 5 s"], alone(5));
}

#[test]
fn the_node_that_judges_is_never_silent_to_itself() {
    check(Healthy, &[], |case| (case.link, case.silent) = (Link::Here, DAY));
    check(Degraded, &["it has told nothing of itself for 32 s"], |case| {
        (case.link, case.untold) = (Link::Here, Duration::from_secs(32));
    });
}

#[test]
fn what_its_telemetry_shows_degrades_a_node() {
    check(Degraded, &["it is not ready"], |case| case.ready = Some(false));
    check(Degraded, &["it has told nothing of itself for 32 s"], |case| case.untold = Duration::from_secs(32));
    check_told(Degraded, &["camera door is blind: refused"], |telemetry| {
        (telemetry.cameras[0].on_line, telemetry.cameras[0].why) = (false, Some("refused".to_owned()));
    });
    check_told(Degraded, &["gpu-link: no link"], |telemetry| telemetry.notes.push("gpu-link: no link".to_owned()));
    let spool = |oldest_ms| Some(SpoolFigures { waiting: 12, oldest_ms, dropped: 0 });
    check_told(Healthy, &[], |telemetry| telemetry.spool = spool(60_000));
    let waits = "12 entries wait for the relay, the oldest for 61 s";
    check_told(Degraded, &[waits], |telemetry| telemetry.spool = spool(61_000));
    let full = "its memory is nearly full: 7975 MiB of 8192 MiB";
    check_told(Degraded, &[full], |telemetry| telemetry.system.memory_used_bytes = 7975 << 20);
}

#[test]
fn a_disk_is_nearly_full_by_its_share_or_by_what_is_left() {
    let disk = |free: u64, total: u64| {
        move |told: &mut Telemetry| (told.system.disk_free_bytes, told.system.disk_total_bytes) = (free, total)
    };
    check_told(Healthy, &[], disk(5 * GIB, 100 * GIB));
    let share = "its disk has 4096 MiB free of 102400 MiB; make room there";
    check_told(Degraded, &[share], disk(4 * GIB, 100 * GIB));
    let left = "its disk has 1023 MiB free of 8192 MiB; make room there";
    check_told(Degraded, &[left], disk(GIB - 1, 8 * GIB));
    check_told(Healthy, &[], disk(0, 0));
}

#[test]
fn a_clock_that_is_off_is_told_with_its_way() {
    for (ms, told) in [(-2000, None), (2000, None), (2600, Some("2.6 s ahead of")), (-612_000, Some("612.0 s behind"))]
    {
        let told = told.map(|off| format!("its clock is {off} the relay's; see to its time service"));
        let state = if told.is_some() { Degraded } else { Healthy };
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        check(state, &told, |case| case.skew_ms = Some(ms));
    }
}

#[test]
fn a_certificate_that_has_ended_is_told_whatever_the_node_says() {
    check_told(Healthy, &[], |telemetry| telemetry.certificate_until = Some(wall().plus(Duration::from_secs(1))));
    let ended = "its certificate has ended; enrol it again";
    check_told(Degraded, &[ended], |telemetry| telemetry.certificate_until = Some(wall()));
}

#[test]
fn of_many_blind_cameras_some_are_named_and_all_are_counted() {
    let mut telemetry = telemetry(wall());
    let camera = CameraFigures { on_line: false, ..telemetry.cameras[0].clone() };
    telemetry.cameras = vec![camera; 6];
    let (state, whys) = judge(&well(&telemetry));
    assert_eq!((state, whys.len(), whys.last()), (Degraded, 5, Some(&Why::MoreBlind(2))));
}
