//! Top: `watchtree top`: the tree on a screen, with loads and rates.
//!
//!   nodes ──look each second──▶ [looker] ──▶ model ──▶ screen
//!   keyboard ────────────────▶ [keys]  ──▶ model
//!
//! It only looks: steering is left to commands, where a slip of a finger does nothing. A node that
//! goes away leaves what was seen last on the screen, and says so.

mod draw;
mod model;

use super::Failure;
use super::args::{Output, TopArgs};
use super::gather::{Gatherer, View};
use super::out::Out;
use super::rates::Rates;
use super::render::top::{self as table, Shown};
use super::screen::{self, Pauses, Screen};
use super::session::{Dialler, Unanswered};
use model::{Goes, Model};
use protocol::Timestamp;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event};
use std::io::{Stdout, stdout};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Between two looks; rates are over this time.
const EVERY: Duration = Duration::from_secs(1);
/// Ages on the screen move on although nothing new is known.
const REDRAWN_AFTER: Duration = Duration::from_millis(500);
/// Keys that wait to be obeyed. When full, the keyboard waits.
const KEYS_MAX: usize = 64;

pub(super) async fn top(args: &TopArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let path = args.path.as_deref();
    let mut gatherer = Gatherer::new(dialler, &args.access.connect, path);
    // Who cannot be reached at all is told before the screen is taken.
    let look = gatherer.look().await?;
    if out.width.is_none() || args.output == Output::Json {
        let before = look.found(path)?;
        before.silent.iter().for_each(super::warn);
        return once(args, gatherer, before, out).await;
    }
    let model = Model::new(&args.access.connect, path, look.found(path)?);
    on_screen(model, gatherer).await
}

/// For programs and pipes: one snapshot, with the rates of one second.
async fn once(args: &TopArgs, mut gatherer: Gatherer, before: View, out: &mut Out) -> Result<(), Failure> {
    sleep(EVERY).await;
    let after = gatherer.look().await?.found(args.path.as_deref())?;
    let rates = Rates::between(&before, &after);
    match args.output {
        Output::Json => out.json_document(&table::rated(&after.nodes, &after.absent, &rates))?,
        Output::Table => {
            super::warn("stdout is no terminal: this is one snapshot; `watchtree tree --watch` prints changes");
            let view = table::View { rates: &rates, shown: Shown::All, now: Timestamp::now() };
            let rows = table::table(&after.nodes, &after.absent, view);
            out.text(&rows.render(out.style))?;
        }
    }
    out.flush()
}

async fn on_screen(mut model: Model, gatherer: Gatherer) -> Result<(), Failure> {
    let screen = Screen::open_for_keys()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(stdout())).map_err(unwritten)?;
    let mut looker = JoinSet::new();
    let (tell, mut told) = mpsc::channel(1);
    looker.spawn(look_on(gatherer, tell));
    let mut keys = keyboard();
    let (ended, mut pauses) = (screen::told_to_end(), Pauses::listen());
    tokio::pin!(ended);
    let mut redraw = interval(REDRAWN_AFTER);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let last_words = loop {
        terminal.draw(|frame| draw::draw(frame, &mut model, Timestamp::now())).map_err(unwritten)?;
        tokio::select! {
            looked = told.recv() => match looked {
                Some(Ok(view)) => model.see(view),
                Some(Err(Unanswered::Lost(why))) => model.lose(why),
                Some(Err(refused)) => break Some(Failure::from(refused)),
                None => break Some(Failure::new("looking at the nodes failed; start `watchtree top` again")),
            },
            key = keys.recv() => match key.map(|event| model.obey(&event)) {
                Some(Goes::On) => {}
                Some(Goes::Aside) => pause(&screen, &mut terminal)?,
                // The keyboard is gone with its terminal.
                Some(Goes::Home) | None => break None,
            },
            () = pauses.next() => pause(&screen, &mut terminal)?,
            _ = redraw.tick() => {}
            () = &mut ended => break None,
        }
    };
    drop(screen);
    looker.shutdown().await;
    last_words.map_or(Ok(()), Err)
}

/// Until somebody lets us go on; what is on the screen then is not ours.
fn pause(screen: &Screen, terminal: &mut Terminal<CrosstermBackend<Stdout>>) -> Result<(), Failure> {
    screen.pause()?;
    // Draws all of it again. `clear` would ask the terminal where the cursor is, and the keys' thread take its answer.
    terminal.size().and_then(|size| terminal.resize(size.into())).map_err(unwritten)
}

/// Looks each second until nobody wants to know.
async fn look_on(mut gatherer: Gatherer, tell: mpsc::Sender<Result<View, Unanswered>>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let looked = gatherer.look().await.map(|look| look.view);
        if tell.send(looked).await.is_err() {
            return;
        }
    }
}

/// A thread of its own, because reading keys blocks; it ends with the process.
fn keyboard() -> mpsc::Receiver<Event> {
    let (press, pressed) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if press.blocking_send(event).is_err() {
                return;
            }
        }
    });
    pressed
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(format!("the terminal cannot be written: {error}"))
}
