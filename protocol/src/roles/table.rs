//! The table itself, a block for each type of message: `what it is => "name": node from who | who, ...;`

use super::{Grant, Plane, Row, Who};
use crate::Role;
use crate::admin::Request;
use crate::core::{Ask, Tell};
use crate::datagram::Datagram;
use crate::enrol::{JoinDown, JoinUp, RenewDown, RenewUp};
use crate::link::{AskerDown, AskerUp, ClipDown, Down, EventsDown, EventsUp, Open, Up};

/// What stands in the table.
pub trait Listed {
    fn row(&self) -> &'static Row;

    /// The rows of all that are of this type.
    const ROWS: &'static [Row];
}

macro_rules! table {
    ($(
        $plane:ident, $type:ident {
            $($pattern:pat => $name:literal: $($here:ident from $($peer:ident)|+),+;)+
        }
    )+) => {
        $(impl Listed for $type {
            fn row(&self) -> &'static Row {
                match self {
                    $($pattern => {
                        const ROW: &Row = &Row {
                            plane: Plane::$plane,
                            name: $name,
                            grants: &[$(Grant { here: Role::$here, peers: &[$(Who::$peer),+] }),+],
                        };
                        ROW
                    })+
                }
            }

            const ROWS: &'static [Row] = &[$(Row {
                plane: Plane::$plane,
                name: $name,
                grants: &[$(Grant { here: Role::$here, peers: &[$(Who::$peer),+] }),+],
            }),+];
        })+

        /// All of it, in the table's order.
        pub fn rows() -> impl Iterator<Item = &'static Row> {
            [$(<$type as Listed>::ROWS),+].into_iter().flatten()
        }
    };
}

table! {
    // What a connection's streams are for. A frame's stream is its one message.
    Stream, Open {
        Open::Control => "control": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Open::Events => "events": Relay from Edge;
        Open::Verdicts { .. } => "verdicts": Gpu from Edge;
        Open::Frame => "frame": Gpu from Edge;
        Open::Admin => "admin": Relay from Operator | Viewer, Gpu from Operator | Viewer;
        Open::Renew => "renew": Relay from Edge | Gpu | Relay;
        Open::Core => "core": Relay from Gpu | Relay;
        Open::Clip { .. } => "clip": Edge from Relay;
    }

    // On the control stream, from who dialled. Answers carry the number of a call and no node's name: they reach the
    // connection's own proxy.
    Up, Up {
        Up::Hello { .. } => "hello": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Snapshot { .. } => "snapshot": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Bye => "bye": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Steered { .. } => "steered": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Failures { .. } => "failures": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Ping { .. } => "ping": Relay from Edge | Gpu | Relay, Gpu from Edge;
        Up::Telemetry(_) => "telemetry": Relay from Edge | Gpu | Relay;
        Up::Cameras { .. } => "cameras": Relay from Edge;
    }

    // On the control stream, to who dialled. A gpu node that was taken over must not reach into the edges that send it
    // their frames: it neither steers them nor tells them where to send those.
    Down, Down {
        Down::Welcome { .. } => "welcome": Edge from Relay | Gpu, Relay from Relay, Gpu from Relay;
        Down::Snapshot { .. } => "snapshot": Edge from Relay | Gpu, Relay from Relay, Gpu from Relay;
        Down::Steer { .. } => "steer": Edge from Relay, Relay from Relay, Gpu from Relay;
        Down::Failures { .. } => "failures": Edge from Relay | Gpu, Relay from Relay, Gpu from Relay;
        Down::Pong { .. } => "pong": Edge from Relay | Gpu, Relay from Relay, Gpu from Relay;
        Down::Directory(_) => "directory": Edge from Relay;
        Down::Cameras { .. } => "cameras": Edge from Relay;
        Down::ChangeCamera { .. } => "change-camera": Edge from Relay;
    }

    EventsUp, EventsUp {
        EventsUp::Outbox { .. } => "outbox": Relay from Edge;
        EventsUp::OldEntries(_) => "old-entries": Relay from Edge;
        EventsUp::Entries(_) => "entries": Relay from Edge;
    }

    EventsDown, EventsDown {
        EventsDown::Resume { .. } => "resume": Edge from Relay;
        EventsDown::Ack { .. } => "ack": Edge from Relay;
    }

    AskerUp, AskerUp {
        AskerUp::Bye => "bye": Gpu from Edge;
    }

    AskerDown, AskerDown {
        AskerDown::Verdict(_) => "verdict": Edge from Gpu;
    }

    Clip, ClipDown {
        ClipDown::Begins { .. } => "begins": Relay from Edge;
        ClipDown::Refused(_) => "refused": Relay from Edge;
    }

    // On a connection of its own, `watchtree-join/1`: the one thing that who has no certificate may say.
    Join, JoinUp {
        JoinUp { .. } => "join": Relay from Stranger;
    }

    Join, JoinDown {
        JoinDown::Joined { .. } => "joined": Edge from Relay, Relay from Relay, Gpu from Relay;
        JoinDown::Refused(_) => "refused": Edge from Relay, Relay from Relay, Gpu from Relay;
    }

    Renew, RenewUp {
        RenewUp { .. } => "renew": Relay from Edge | Gpu | Relay;
    }

    Renew, RenewDown {
        RenewDown::Renewed { .. } => "renewed": Edge from Relay, Relay from Relay, Gpu from Relay;
        RenewDown::Refused(_) => "refused": Edge from Relay, Relay from Relay, Gpu from Relay;
    }

    // On admin streams: viewers look, operators steer.
    Request, Request {
        Request::Nodes => "nodes": Relay from Operator | Viewer, Gpu from Operator | Viewer;
        Request::Tree { .. } => "tree": Relay from Operator | Viewer, Gpu from Operator | Viewer;
        Request::Events { .. } => "events": Relay from Operator | Viewer;
        Request::Record { .. } => "record": Relay from Operator | Viewer;
        Request::Failures { .. } => "failures": Relay from Operator | Viewer, Gpu from Operator | Viewer;
        Request::Steer { .. } => "steer": Relay from Operator, Gpu from Operator;
        Request::CreateToken { .. } => "create-token": Relay from Operator;
        Request::Revoke { .. } => "revoke": Relay from Operator, Gpu from Operator;
        Request::Revoked => "revoked": Relay from Operator | Viewer, Gpu from Operator | Viewer;
        Request::Fleet => "fleet": Relay from Operator | Viewer;
        Request::Cameras { .. } => "cameras": Relay from Operator | Viewer;
        Request::ChangeCamera { .. } => "change-camera": Relay from Operator;
        Request::Timeline { .. } => "timeline": Relay from Operator | Viewer;
    }

    Datagram, Datagram {
        Datagram::Beat(_) => "beat": Relay from Edge | Gpu | Relay;
        Datagram::Gauge { .. } => "gauge": Relay from Edge | Gpu | Relay;
    }

    // Between core nodes, each through the other's one remotable actor. Its messages do not say who sent them: there each
    // is taken from any core node that may send it.
    Tell, Tell {
        Tell::Load(_) => "load": Relay from Gpu;
        Tell::Revoked(_) => "revoked": Relay from Relay | Gpu, Gpu from Relay;
    }

    Ask, Ask {
        Ask::Describe => "describe": Relay from Relay | Gpu, Gpu from Relay;
        Ask::Revoked => "revoked": Relay from Relay | Gpu, Gpu from Relay;
    }

    // On loopback for whoever is on this machine; on `listen.https` for people with a certificate.
    Http, Route {
        Route::Health => "/health":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Live => "/health/live":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Ready => "/health/ready":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Deep => "/health/deep":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Metrics => "/metrics":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Tree => "/api/v1/tree":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Failures => "/api/v1/failures":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Inference => "/api/v1/inference":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::Events => "/api/v1/events": Relay from Local | Operator | Viewer;
        Route::Timeline => "/api/v1/timeline": Edge from Local, Relay from Local | Operator | Viewer;
        Route::Cameras => "/api/v1/cameras": Edge from Local;
        Route::Clip => "/api/v1/events/{id}/clip.mp4": Edge from Local;
        Route::Snapshot => "/api/v1/events/{id}/snapshot.jpg": Edge from Local;
        Route::Crop => "/api/v1/events/{id}/crop.jpg": Edge from Local;
        Route::Thumb => "/api/v1/events/{id}/thumb.jpg": Edge from Local;
        // Core nodes of every tenant are in it.
        Route::Core => "/api/v1/core": Relay from Local, Gpu from Local;
        Route::Nodes => "/api/v1/nodes":
            Edge from Local, Relay from Local | Operator | Viewer, Gpu from Local | Operator | Viewer;
        Route::NodesHistory => "/api/v1/nodes/history": Relay from Local | Operator | Viewer;
    }
}

/// What is served over HTTP; all are read with `GET`. The router is built from these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Health,
    Live,
    Ready,
    Deep,
    Metrics,
    Tree,
    Failures,
    Inference,
    Events,
    Timeline,
    Cameras,
    Clip,
    Snapshot,
    Crop,
    Thumb,
    Core,
    Nodes,
    NodesHistory,
}

impl Route {
    pub const ALL: [Self; 18] = [
        Self::Health,
        Self::Live,
        Self::Ready,
        Self::Deep,
        Self::Metrics,
        Self::Tree,
        Self::Failures,
        Self::Inference,
        Self::Events,
        Self::Timeline,
        Self::Cameras,
        Self::Clip,
        Self::Snapshot,
        Self::Crop,
        Self::Thumb,
        Self::Core,
        Self::Nodes,
        Self::NodesHistory,
    ];

    pub fn path(self) -> &'static str {
        self.row().name
    }
}
