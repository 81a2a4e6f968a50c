//! What is tried: one of each thing that a peer may open, say, ask, send or get, and what comes of it.

use protocol::admin::{EventFilter, Reply, Request};
use protocol::cameras::CameraChange;
use protocol::codec::{Blob, encode};
use protocol::core::{Ask, GpuNode, Tell};
use protocol::datagram::Datagram;
use protocol::enrol::{RenewDown, RenewUp};
use protocol::link::{AskerDown, AskerUp, Down, EventsDown, EventsUp, Open, Up, VIEWERS_LOOK};
use protocol::roles::{Listed, Route, Row};
use protocol::telemetry::{Beat, System, Telemetry};
use protocol::transport::{Connection, Lost, RecvError, Rx, Tx};
use protocol::{Act, Entry, Epoch, Event, EventId, Evidence, FrameHeader, Identity, Phase, Priority, Role, Timestamp};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::timeout;

/// Far above what any answer takes.
const WITHIN: Duration = Duration::from_secs(15);
const BOOT: Epoch = Epoch(7);

/// What came of it, with the words that were told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Served(String),
    /// For the peer's role.
    Refused(String),
    /// Neither: what no cell may show.
    Odd(String),
}

impl Seen {
    /// Whether words are the role table's.
    pub fn told(why: String) -> Self {
        let is_role = ["the role", "serves nobody", VIEWERS_LOOK].iter().any(|words| why.contains(words));
        if is_role { Self::Refused(why) } else { Self::Odd(why) }
    }
}

/// One thing that is tried.
#[derive(Debug, Clone)]
pub enum Try {
    Stream(Open),
    Up(Up),
    EventsUp(EventsUp),
    AskerUp(AskerUp),
    Renew(RenewUp),
    Request(Request),
    Datagram(Datagram),
    Tell(Tell),
    Ask(Ask),
    Http(Route),
}

impl Try {
    pub fn row(&self) -> &'static Row {
        match self {
            Self::Stream(open) => open.row(),
            Self::Up(up) => up.row(),
            Self::EventsUp(up) => up.row(),
            Self::AskerUp(up) => up.row(),
            Self::Renew(up) => up.row(),
            Self::Request(request) => request.row(),
            Self::Datagram(datagram) => datagram.row(),
            Self::Tell(tell) => tell.row(),
            Self::Ask(ask) => ask.row(),
            Self::Http(route) => route.row(),
        }
    }

    /// The stream that it needs.
    pub fn stream(&self) -> Open {
        match self {
            Self::Stream(open) => open.clone(),
            Self::Up(_) | Self::Datagram(_) => Open::Control,
            Self::EventsUp(_) => Open::Events,
            Self::AskerUp(_) => Open::Verdicts { asker: BOOT },
            Self::Renew(_) => Open::Renew,
            Self::Request(_) | Self::Http(_) => Open::Admin,
            Self::Tell(_) | Self::Ask(_) => Open::Core,
        }
    }

    /// All of it on one stream, for who waits for no answer.
    pub fn messages(&self) -> Vec<Vec<u8>> {
        let message = match self {
            Self::Up(up) => vec![encode(&hello()), encode(up)],
            Self::EventsUp(up) => vec![encode(up)],
            Self::AskerUp(up) => vec![encode(up)],
            Self::Renew(up) => vec![encode(up)],
            Self::Request(request) => vec![encode(request)],
            Self::Datagram(datagram) => vec![encode(&hello()), encode(datagram)],
            Self::Tell(tell) => vec![encode(tell)],
            Self::Ask(ask) => vec![encode(ask)],
            Self::Stream(_) | Self::Http(_) => Vec::new(),
        };
        [vec![encode(&self.stream())], message].concat()
    }
}

/// One of each. The rows that are said to who dialled are not among them: nodes that accept do not hear those.
pub fn all() -> Vec<Try> {
    let streams = [
        Open::Control,
        Open::Events,
        Open::Verdicts { asker: BOOT },
        Open::Frame,
        Open::Admin,
        Open::Renew,
        Open::Core,
        Open::Clip { clip: EventId(7), offset: 0 },
    ];
    let told = || Err("no".to_owned());
    let ups = [
        hello(),
        Up::Bye,
        Up::Steered { call: 9, result: told() },
        Up::Failures { call: 9, failures: Vec::new(), omitted: 0 },
        Up::Snapshot { call: 9, snapshot: Box::new(snapshot()) },
        Up::Telemetry(Box::new(telemetry())),
        Up::Ping { call: 9, payload: Blob(vec![1]) },
        Up::Cameras { call: 9, cameras: Ok(Vec::new()), omitted: 0 },
    ];
    let entries = [
        EventsUp::Outbox { epoch: BOOT },
        EventsUp::Entries(vec![entry()]),
        EventsUp::OldEntries(vec![entry().into()]),
    ];
    let gauge = Datagram::Gauge { boot: BOOT, name: "x".to_owned(), seq: 1, value: 0.5 };
    let datagrams = [Datagram::Beat(Beat { boot: BOOT, seq: 1, ready: true }), gauge];
    let tells = [Tell::Load(gpu_node()), Tell::Revoked(Vec::new())];
    let renew = RenewUp { csr: vec![1, 2, 3], now: Timestamp::now() };
    let mut all: Vec<Try> = streams.into_iter().map(Try::Stream).collect();
    all.extend(ups.into_iter().map(Try::Up));
    all.extend(entries.into_iter().map(Try::EventsUp));
    all.extend([Try::AskerUp(AskerUp::Bye), Try::Renew(renew)]);
    all.extend(requests().into_iter().map(Try::Request));
    all.extend(datagrams.into_iter().map(Try::Datagram));
    all.extend(tells.into_iter().map(Try::Tell));
    all.extend([Ask::Describe, Ask::Revoked].into_iter().map(Try::Ask));
    all.extend(Route::ALL.into_iter().map(Try::Http));
    all
}

fn requests() -> Vec<Request> {
    vec![
        Request::Nodes,
        Request::Tree { path: None },
        Request::Events { filter: EventFilter::default(), follow: false },
        Request::Record { edge: name("m0"), epoch: None, after: 0, limit: 1 },
        Request::Failures { path: None, limit: 1 },
        Request::Timeline { edge: name("m0"), camera: None, from: Timestamp::from_micros(0), to: Timestamp::now() },
        Request::Steer { path: "nowhere/at-all".to_owned(), act: Act::Restart },
        Request::CreateToken { role: Role::Edge, name: name("new"), ttl_s: 60 },
        Request::Revoke { name: name("nobody-here"), role: None },
        Request::Revoked,
        Request::Fleet,
        Request::Cameras { path: "nowhere".to_owned() },
        Request::ChangeCamera { path: "nowhere/door".to_owned(), change: CameraChange::Reset { keys: Vec::new() } },
    ]
}

/// Over QUIC, with a certificate that is in order.
pub async fn over_quic(connection: &Connection, tried: &Try) -> Seen {
    let trying = async {
        match tried {
            Try::Stream(Open::Frame) => frame(connection).await,
            Try::Stream(Open::Control) => control(connection, &hello()).await,
            Try::Stream(Open::Events) => events(connection, &EventsUp::Outbox { epoch: BOOT }).await,
            Try::Stream(Open::Verdicts { .. }) | Try::AskerUp(_) => verdicts(connection).await,
            Try::Stream(Open::Admin) => admin(connection).await,
            Try::Stream(Open::Renew) => renew(connection, &RenewUp { csr: vec![1, 2, 3], now: Timestamp::now() }).await,
            Try::Stream(open) => Err(open_and_wait(connection, open).await),
            Try::Tell(_) | Try::Ask(_) => Err(open_and_wait(connection, &Open::Core).await),
            Try::Up(up) => control(connection, up).await,
            Try::EventsUp(up) => events(connection, up).await,
            Try::Renew(up) => renew(connection, up).await,
            Try::Request(asked) => request(connection, asked).await,
            Try::Datagram(_) | Try::Http(_) => Err(Seen::Odd("is tried in another way".to_owned())),
        }
    };
    let late = |_| Seen::Odd(format!("nothing came of it within {} s", WITHIN.as_secs()));
    timeout(WITHIN, trying).await.unwrap_or_else(|late_by| Err(late(late_by))).unwrap_or_else(|seen| seen)
}

/// A stream that was opened: its two halves, or what came of that.
async fn open(connection: &Connection, open: &Open) -> Result<(Tx, Rx), Seen> {
    match connection.open_bi(open).await {
        Ok(stream) => Ok(stream),
        Err(_) => Err(ended(connection).await),
    }
}

async fn ended(connection: &Connection) -> Seen {
    Seen::told(connection.closed().await)
}

async fn send<T: serde::Serialize>(connection: &Connection, tx: &mut Tx, message: &T) -> Result<(), Seen> {
    match tx.send(message).await {
        Ok(()) => Ok(()),
        Err(_) => Err(ended(connection).await),
    }
}

/// The next message, `None` if the stream ended while its connection goes on.
async fn next<T: DeserializeOwned>(connection: &Connection, rx: &mut Rx) -> Result<Option<T>, Seen> {
    match rx.recv::<T>().await {
        Ok(message) => Ok(message),
        Err(RecvError::Lost(Lost::Stream(_))) => Ok(None),
        Err(RecvError::Lost(Lost::Connection(_))) => Err(ended(connection).await),
        Err(RecvError::Garbled(why)) => Err(Seen::Odd(why)),
    }
}

/// What nobody on these nodes answers in words of ours: refused with the connection, or what is no greeting is heard and
/// ends the stream alone.
async fn open_and_wait(connection: &Connection, stream: &Open) -> Seen {
    match open(connection, stream).await {
        Ok((mut tx, rx)) => {
            // As a length it is beyond any limit.
            let _ = tx.send_bytes(&[0xff; 16]).await;
            let mut bytes = rx.into_io();
            match bytes.read_chunk(1, true).await {
                Err(quinn::ReadError::ConnectionLost(_)) => ended(connection).await,
                told => Seen::Served(format!("{:?}", told.map(|chunk| chunk.is_some()))),
            }
        }
        Err(seen) => seen,
    }
}

/// Hello, then this, then goodbye: each is heard before the next.
async fn control(connection: &Connection, up: &Up) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Control).await?;
    send(connection, &mut tx, &hello()).await?;
    if next::<Down>(connection, &mut rx).await?.is_none() {
        return Err(Seen::Odd("the stream ended before the welcome".to_owned()));
    }
    if matches!(up, Up::Hello { .. }) {
        return Ok(Seen::Served("welcome".to_owned()));
    }
    send(connection, &mut tx, up).await?;
    if !matches!(up, Up::Bye) {
        send(connection, &mut tx, &Up::Bye).await?;
    }
    while next::<Down>(connection, &mut rx).await?.is_some() {}
    Ok(Seen::Served("heard to its end".to_owned()))
}

async fn events(connection: &Connection, up: &EventsUp) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Events).await?;
    send(connection, &mut tx, &EventsUp::Outbox { epoch: BOOT }).await?;
    let mut told = next::<EventsDown>(connection, &mut rx).await?;
    if matches!(up, EventsUp::Entries(_) | EventsUp::OldEntries(_)) {
        // It may be on the record from before: a repeated entry goes back, and that is refused as such.
        if told == Some(EventsDown::Resume { through: 1 }) {
            return Ok(Seen::Served("on the record".to_owned()));
        }
        send(connection, &mut tx, up).await?;
        told = next::<EventsDown>(connection, &mut rx).await?;
    }
    Ok(told.map_or(Seen::Odd("the stream ended".to_owned()), |told| Seen::Served(format!("{told:?}"))))
}

async fn verdicts(connection: &Connection) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Verdicts { asker: BOOT }).await?;
    send(connection, &mut tx, &AskerUp::Bye).await?;
    while next::<AskerDown>(connection, &mut rx).await?.is_some() {}
    Ok(Seen::Served("goodbye".to_owned()))
}

/// Frames are taken from those who want verdicts; whoever may not send one is refused for either.
async fn frame(connection: &Connection) -> Result<Seen, Seen> {
    let header = FrameHeader {
        asker: BOOT,
        seq: 1,
        camera: "door".parse().expect("a name"),
        captured: Timestamp::now(),
        deadline_ms: 5000,
        priority: Priority::Normal,
        model: None,
        width: 2,
        height: 2,
    };
    // The transport takes it, or says at the next step why not.
    let _ = connection.open_frame(&header, &[0; 6]).await;
    let (_tx, mut rx) = open(connection, &Open::Verdicts { asker: BOOT }).await?;
    let verdict = next::<AskerDown>(connection, &mut rx).await?;
    Ok(verdict.map_or(Seen::Odd("the stream ended".to_owned()), |told| Seen::Served(format!("{told:?}"))))
}

async fn renew(connection: &Connection, up: &RenewUp) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Renew).await?;
    send(connection, &mut tx, up).await?;
    let told = next::<RenewDown>(connection, &mut rx).await?;
    Ok(told.map_or(Seen::Odd("the stream ended".to_owned()), |told| Seen::Served(format!("{told:?}"))))
}

/// The stream alone: whoever is answered on it has opened it, whatever the answer is.
async fn admin(connection: &Connection) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Admin).await?;
    send(connection, &mut tx, &Request::Nodes).await?;
    let told = next::<Reply>(connection, &mut rx).await?;
    Ok(told.map_or(Seen::Odd("the stream ended".to_owned()), |told| Seen::Served(format!("{told:.60?}"))))
}

async fn request(connection: &Connection, asked: &Request) -> Result<Seen, Seen> {
    let (mut tx, mut rx) = open(connection, &Open::Admin).await?;
    send(connection, &mut tx, asked).await?;
    Ok(match next::<Reply>(connection, &mut rx).await? {
        Some(Reply::Refused(why)) => match Seen::told(why) {
            // For another reason than the role: it was looked at.
            Seen::Odd(why) => Seen::Served(why),
            seen => seen,
        },
        Some(reply) => Seen::Served(format!("{reply:?}").chars().take(60).collect()),
        None => Seen::Odd("the stream ended".to_owned()),
    })
}

pub fn hello() -> Up {
    Up::Hello { boot: BOOT, software: "a peer of the matrix".to_owned() }
}

fn name(text: &str) -> protocol::NodeName {
    text.parse().expect("a name")
}

fn identity() -> Identity {
    "main/gpu/made-up".parse().expect("an identity")
}

pub fn snapshot() -> protocol::admin::NodeSnapshot {
    protocol::admin::NodeSnapshot {
        node: identity(),
        boot: BOOT,
        up_since: Timestamp::now(),
        software: "x".to_owned(),
        ready: true,
        notes: Vec::new(),
        actors: Vec::new(),
        actors_omitted: 0,
        ledgers: Vec::new(),
        outbox: None,
    }
}

fn telemetry() -> Telemetry {
    Telemetry {
        boot: BOOT,
        at: Timestamp::now(),
        ready: true,
        notes: Vec::new(),
        system: System::default(),
        cameras: Vec::new(),
        spool: None,
        inference: None,
        certificate_until: None,
    }
}

fn gpu_node() -> GpuNode {
    GpuNode {
        node: identity(),
        boot: BOOT,
        addr: "127.0.0.1:1".to_owned(),
        ready: true,
        models: Vec::new(),
        waiting: 0,
        load: 0.0,
    }
}

fn entry() -> Entry {
    let now = Timestamp::now();
    let event = Event {
        id: EventId(7),
        camera: "door".parse().expect("a name"),
        phase: Phase::Start,
        revision: 0,
        label: "person".to_owned(),
        evidence: Evidence::Motion,
        score: 0.5,
        top_score: 0.5,
        area: [0.1, 0.2, 0.3, 0.4],
        begin: now,
        end: now,
        reason: None,
        zones: Vec::new(),
        has_clip: false,
        has_snapshot: false,
    };
    Entry { epoch: BOOT, seq: 1, accepted: now, event }
}
