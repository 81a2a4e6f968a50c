//! The role table, spelled out: what is listed here is allowed, and all the rest is not.

use protocol::link::{Open, may_open, may_steer};
use protocol::{Epoch, Role};

/// Here, peer, stream.
const ALLOWED: [(Role, Role, &str); 10] = [
    (Role::Relay, Role::Edge, "control"),
    (Role::Relay, Role::Edge, "events"),
    (Role::Relay, Role::Gpu, "control"),
    (Role::Relay, Role::Operator, "admin"),
    (Role::Relay, Role::Viewer, "admin"),
    // Relays that dial each other.
    (Role::Relay, Role::Relay, "control"),
    (Role::Gpu, Role::Edge, "control"),
    (Role::Gpu, Role::Edge, "verdicts"),
    (Role::Gpu, Role::Edge, "frame"),
    (Role::Gpu, Role::Operator, "admin"),
    (Role::Gpu, Role::Viewer, "admin"),
];

#[test]
fn a_role_may_open_what_the_table_lists_and_nothing_else() {
    let streams = [Open::Control, Open::Events, Open::Verdicts { asker: Epoch(7) }, Open::Frame, Open::Admin];
    let mut asked = 0;
    for here in Role::ALL {
        for peer in Role::ALL {
            for stream in &streams {
                let expected = ALLOWED.contains(&(here, peer, stream.name()));
                let name = stream.name();
                assert_eq!(may_open(here, peer, stream), expected, "{peer} opens {name} on a node of role {here}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 5 * 5 * 5);
}

#[test]
fn operators_steer_and_nobody_else() {
    let steering: Vec<Role> = Role::ALL.into_iter().filter(|role| may_steer(*role)).collect();
    assert_eq!(steering, [Role::Operator]);
}
