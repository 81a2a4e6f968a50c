//! Sessions of the core over real connections. Both nodes live in one process, whose process groups they share: what is
//! local to one is remote to the other all the same, and each believes of its peer what the certificate says.

use super::*;
use crate::fabric::testing::Pair;
use protocol::Timestamp;
use protocol::link::Open;
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream, client_connect_external};
use supervision::{Intensity, Roll, Root, Strategy, Tree, service};
use tokio::io::AsyncReadExt;

const WITHIN: Duration = Duration::from_secs(20);
const HUB: &str = "main/relay/hub";
const ENGINE: &str = "main/gpu/engine";

fn id(who: &str) -> Identity {
    who.parse().expect("an identity")
}

fn core(who: &str) -> Core {
    let revoked = Revoked::default();
    let known = revoked.clone();
    let keep: Keep = Arc::new(move |news| {
        known.add(news);
        Box::pin(std::future::ready(Ok(())))
    });
    Core::new(id(who), Epoch::random(), revoked, keep)
}

/// Its service, under a supervisor.
async fn run(core: &Core, load: Option<Load>) -> Root {
    let core = core.clone();
    let child = service("core", move |cx| core.clone().run(Vec::new(), load.clone(), cx)).answers_within(WITHIN);
    let intensity = Intensity { restarts: 5, within: Duration::from_secs(60) };
    let tree = Tree { name: "node".to_owned(), strategy: Strategy::OneForOne, intensity, children: vec![child] };
    Root::start(tree, Roll::default()).await.expect("starts")
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let look = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(WITHIN, look).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// A stream of the core on a new connection: the dialler's end, and what the hub does with its own.
async fn dial(pair: &Pair, hub: &Core) -> (Connection, Tx, Rx) {
    let (dialled, accepted) = pair.connect().await;
    let (tx, rx) = dialled.open_bi(&Open::Core).await.expect("a stream");
    let hub = hub.clone();
    tokio::spawn(async move {
        let (_, tx, rx) = accepted.accept_bi().await.expect("a stream").open().await.expect("says what it is");
        hub.accept(&accepted, tx, rx).await;
    });
    (dialled, tx, rx)
}

/// The engine's side of one session.
async fn join(pair: &Pair, hub: &Core, engine: &Core) -> Connection {
    let (connection, tx, rx) = dial(pair, hub).await;
    let (engine, dialled) = (engine.clone(), connection.clone());
    tokio::spawn(async move { engine.host(&dialled, tx, rx, true).await });
    connection
}

#[tokio::test]
async fn two_nodes_find_each_other_ask_each_other_and_miss_each_other() {
    let (hub, engine, pair) = (core(HUB), core(ENGINE), Pair::with(ENGINE));
    let load = GpuNode {
        node: id(ENGINE),
        boot: Epoch(1),
        addr: ":7444".to_owned(),
        ready: true,
        models: vec!["squares".to_owned()],
        waiting: 0,
        load: 0.0,
    };
    let known = protocol::core::Revocation {
        who: id("main/edge/yard"),
        at: Timestamp::from_micros(5),
        by: id("main/operator/ada"),
    };
    hub.0.revoked.add([known.clone()]);
    let _running = (run(&hub, None).await, run(&engine, Some(Arc::new(move || load.clone()))).await);
    let connection = join(&pair, &hub, &engine).await;
    eventually("the hub sees the engine", || hub.members(Group::Workers) == [id(ENGINE)]).await;
    eventually("the engine sees the hub", || engine.members(Group::Relays) == [id(HUB)]).await;
    assert_eq!(hub.members(Group::Relays), [id(HUB)], "what a gpu node has in the relays' group is not believed");

    let described = hub.ask(&id(ENGINE), &Ask::Describe, WITHIN).await.expect("it answers");
    assert!(matches!(described, Answer::Described { node, .. } if node == id(ENGINE)));
    eventually("the hub lists the engine where it is seen", || {
        let list = hub.directory().list().borrow().clone();
        list.first().is_some_and(|node| node.addr == "127.0.0.1:7444")
    })
    .await;
    eventually("a newcomer is told who is revoked", || engine.0.revoked.all() == [known.clone()]).await;
    let news = protocol::core::Revocation { who: id("main/edge/barn"), ..known };
    engine.0.revoked.add([news.clone()]);
    eventually("news go on at once", || hub.0.revoked.all().contains(&news)).await;

    // Bytes that are no message cost nobody anything.
    let gateway = hub.member(&id(ENGINE)).expect("it is there");
    gateway.cast(Said::Tell(vec![9, 9, 9])).expect("is sent");
    let (port, answer) = ractor::concurrency::oneshot();
    gateway.cast(Said::Ask(vec![1, 255], port.into())).expect("is sent");
    let answer = timeout(WITHIN, answer).await.expect("in time").expect("it is answered");
    assert!(matches!(unpack::<Answer>(&answer), Ok(Answer::Refused(_))));
    let huge = Tell::Revoked(vec![news; 20_000]);
    assert!(matches!(hub.tell_all(Group::Workers, &huge), Err(CoreError::TooLarge(_))));
    hub.ask(&id(ENGINE), &Ask::Describe, WITHIN).await.expect("its session goes on");

    connection.close(protocol::transport::CloseCode::Done, "the test is over");
    eventually("the hub misses the engine", || hub.members(Group::Workers).is_empty()).await;
    let error = hub.ask(&id(ENGINE), &Ask::Describe, WITHIN).await.expect_err("it is gone");
    assert!(error.to_string().starts_with("main/gpu/engine did not answer: "), "{error}");
    eventually("its entry goes with it", || hub.directory().list().borrow().is_empty()).await;
}

#[tokio::test]
async fn a_question_that_nobody_answers_ends_in_time_with_the_name_in_it() {
    let (hub, pair) = (core(HUB), Pair::with(ENGINE));
    let _running = run(&hub, None).await;
    let (mute, _) = Actor::spawn(None, Mute, ()).await.expect("starts");
    let (_connection, tx, rx) = dial(&pair, &hub).await;
    let engine = node_server("main.gpu.engine").await;
    let stream = Box::new(Bidi::new(tx, rx, "hub".to_owned(), Default::default()));
    client_connect_external(&engine, stream).await.expect("is taken");
    eventually("the hub sees the engine", || hub.members(Group::Workers) == [id(ENGINE)]).await;
    let late = hub.ask(&id(ENGINE), &Ask::Describe, Duration::from_millis(200)).await.expect_err("it is mute");
    assert!(late.to_string().ends_with("no answer within 200ms"), "{late}");
    let unknown = hub.ask(&id("main/gpu/other"), &Ask::Describe, WITHIN).await.expect_err("nobody");
    for (error, name) in [(late, ENGINE), (unknown, "main/gpu/other")] {
        assert!(matches!(&error, CoreError::Unanswered { who, .. } if *who == id(name)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    mute.kill();
    engine.kill();
}

/// A worker that hears and says nothing.
struct Mute;

impl Actor for Mute {
    type Msg = Said;
    type State = Vec<Said>;
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Said>, (): ()) -> Result<Vec<Said>, ractor::ActorProcessingErr> {
        pg::join(Group::Workers.name(), vec![me.get_cell()]);
        Ok(Vec::new())
    }

    async fn handle(
        &self,
        _: ActorRef<Said>,
        said: Said,
        kept: &mut Vec<Said>,
    ) -> Result<(), ractor::ActorProcessingErr> {
        kept.push(said);
        Ok(())
    }
}

/// ractor_cluster's own, without a core around it.
async fn node_server(name: &str) -> ActorRef<NodeServerMessage> {
    let server = NodeServer::new(0, cookie(), name.to_owned(), "elsewhere".to_owned(), None, None)
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Actor::spawn(None, server, ()).await.expect("starts").0
}

#[tokio::test]
async fn a_newer_connection_of_a_node_takes_over_and_a_restart_is_joined_anew() {
    let (hub, engine, pair) = (core(HUB), core(ENGINE), Pair::with(ENGINE));
    let (hub_runs, engine_runs) = (run(&hub, None).await, run(&engine, None).await);
    let _first = join(&pair, &hub, &engine).await;
    eventually("they are linked", || hub.members(Group::Workers) == [id(ENGINE)]).await;
    let first = hub.0.seats.ready_labels();
    // As after a power cut: the hub has not missed the first one yet, and another process of that name comes.
    let reborn = core(ENGINE);
    let reborn_runs = run(&reborn, None).await;
    let _second = join(&pair, &hub, &reborn).await;
    eventually("the newer one has taken over", || {
        let now = hub.0.seats.ready_labels();
        now.len() == 1 && now != first
    })
    .await;
    eventually("it is a member", || hub.members(Group::Workers) == [id(ENGINE)]).await;
    hub_runs.stop().await;
    eventually("who stops leaves", || reborn.0.seats.ready().is_empty()).await;
    let _hub_again = run(&hub, None).await;
    let _third = join(&pair, &hub, &reborn).await;
    eventually("the restarted core is joined", || hub.members(Group::Workers) == [id(ENGINE)]).await;
    drop((engine_runs, reborn_runs));
}

#[tokio::test]
async fn a_name_that_is_not_the_certificates_ends_session_and_connection() {
    let (hub, pair) = (core(HUB), Pair::with(ENGINE));
    let _running = run(&hub, None).await;
    let (connection, tx, rx) = dial(&pair, &hub).await;
    let liar = node_server("main.relay.hub2").await;
    let stream = Box::new(Bidi::new(tx, rx, "hub".to_owned(), Default::default()));
    client_connect_external(&liar, stream).await.expect("is taken");
    let reason = timeout(WITHIN, connection.closed()).await.expect("it is refused");
    assert!(reason.contains("calls itself main.relay.hub2") && reason.contains(ENGINE), "{reason}");
    eventually("nobody sits there", || !hub.0.seats.has(&id(ENGINE))).await;
    liar.kill();
}

struct Unlabelled(tokio::io::DuplexStream);

impl ClusterBidiStream for Unlabelled {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = tokio::io::split(self.0);
        (Box::new(read), Box::new(write))
    }
}

#[tokio::test]
async fn who_comes_over_no_link_of_ours_is_turned_out() {
    let hub = core(HUB);
    let _running = run(&hub, None).await;
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let (server, _) = hub.0.server.borrow().clone().expect("it runs");
    let stream = Box::new(Unlabelled(theirs));
    server.cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server: true }).expect("is taken");
    let ended = timeout(WITHIN, ours.read(&mut [0; 16])).await.expect("in time");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn nothing_of_ours_but_the_gateway_can_be_reached_from_outside() {
    let hub = core(HUB);
    let _running = run(&hub, None).await;
    let all = registry::get_all_pids();
    assert!(all.len() > 2, "supervisor, service, node server and gateway are there");
    let others: Vec<_> = all.iter().filter(|actor| actor.supports_remoting()).collect();
    assert!(
        !others.is_empty() && others.iter().all(|actor| actor.is_message_type_of::<Said>() == Some(true)),
        "{others:?}"
    );
}

#[tokio::test]
async fn of_two_that_dial_each_other_the_stream_of_the_first_name_is_kept() {
    let pair = Pair::with(ENGINE);
    let (_, accepted) = pair.connect().await;
    // Relays come before gpu nodes.
    let seats = Seats::default();
    let ours = seats.take(&id(HUB), &accepted, true).await.expect("a seat");
    let refused = seats.take(&id(HUB), &accepted, false).await.err().expect("the other's is kept");
    assert!(refused.contains("dial each other"), "{refused}");
    drop(ours);
    let theirs = seats.take(&id(HUB), &accepted, false).await.expect("a seat");
    assert!(seats.has(&id(ENGINE)));
    // Ours is not refused: it waits for theirs, which nobody ends here.
    let ours = seats.take(&id(HUB), &accepted, true).await.err().expect("theirs is still there");
    assert!(ours.contains("does not end") && !seats.has(&id(ENGINE)), "{ours}");
    drop(theirs);
}
