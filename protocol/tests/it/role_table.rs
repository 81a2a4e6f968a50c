//! The role table against what is spelled out by hand.

use crate::spelled_out::{ALLOWED, is_allowed};
use protocol::link::{Open, may_open, may_steer};
use protocol::roles::{Who, rows};
use protocol::{Epoch, EventId, Role};
use std::collections::BTreeSet;

#[test]
fn the_table_lists_what_is_spelled_out_and_nothing_else() {
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for row in rows() {
        for here in Role::ALL {
            for peer in Who::ALL {
                let listed = row.peers(here).contains(&peer);
                if listed != is_allowed(&row.to_string(), here, peer) {
                    wrong.push(format!("{row} by {peer} on {here}: the table says {listed}"));
                }
                asked += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(asked, ALLOWED.len() * 5 * 7, "the two lists are of different lengths");
}

#[test]
fn each_thing_is_spelled_out_once() {
    let names: BTreeSet<String> = rows().map(|row| row.to_string()).collect();
    let spelled: BTreeSet<String> = ALLOWED.iter().map(|(what, _)| (*what).to_owned()).collect();
    assert_eq!(names, spelled);
    assert_eq!(spelled.len(), ALLOWED.len(), "one is there twice");
}

#[test]
fn what_opens_a_stream_is_looked_up_by_its_message() {
    let clip = Open::Clip { clip: EventId(7), offset: 0 };
    let (verdicts, control) = (Open::Verdicts { asker: Epoch(7) }, Open::Control);
    let streams = [control, Open::Events, verdicts, Open::Frame, Open::Admin, Open::Renew, Open::Core, clip];
    for stream in &streams {
        for here in Role::ALL {
            for peer in Role::ALL {
                let expected = is_allowed(&format!("stream {}", stream.name()), here, peer.into());
                let name = stream.name();
                assert_eq!(may_open(here, peer, stream), expected, "{peer} opens {name} on a node of role {here}");
            }
        }
    }
}

/// Whoever may open none of a node's streams may say nothing to it, whatever the other rows list.
#[test]
fn nobody_may_say_what_no_stream_of_his_carries() {
    let carried_by = |plane: &str| match plane {
        "up" => Some("stream control"),
        "events-up" => Some("stream events"),
        "asker-up" => Some("stream verdicts"),
        "renew" => Some("stream renew"),
        "request" => Some("stream admin"),
        "tell" | "ask" => Some("stream core"),
        _ => None,
    };
    for row in rows() {
        let Some(stream) = carried_by(row.plane.as_str()) else { continue };
        // What is answered on a stream of one's own is carried by that; and the core speaks both ways on one stream.
        let here_only = |here: Role, peer: Who| is_allowed(stream, here, peer);
        let both_ways = |here: Role, peer: Who| {
            let (role, there) = (Role::ALL.into_iter().find(|role| Who::from(*role) == peer), Who::from(here));
            here_only(here, peer) || role.is_some_and(|role| is_allowed(stream, role, there))
        };
        for here in Role::ALL {
            for peer in row.peers(here) {
                assert!(both_ways(here, *peer), "{row} by {peer} on {here} rides on no stream");
            }
        }
    }
}

#[test]
fn an_edge_reaches_no_edge_no_admin_and_no_core() {
    for row in rows() {
        let what = row.to_string();
        assert!(!row.peers(Role::Edge).contains(&Who::Edge), "{what}");
        let is_of_others = ["request", "tell", "ask", "http"].contains(&row.plane.as_str());
        let forbidden = is_of_others || ["stream admin", "stream core"].contains(&what.as_str());
        let reaches = Role::ALL.into_iter().any(|here| row.peers(here).contains(&Who::Edge));
        assert!(!(forbidden && reaches), "{what}");
    }
}

#[test]
fn operators_steer_and_nobody_else() {
    let steering: Vec<Role> = Role::ALL.into_iter().filter(|role| may_steer(*role)).collect();
    assert_eq!(steering, [Role::Operator]);
}
