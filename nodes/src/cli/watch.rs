//! Watch: `watchtree tree --watch`: a look each second.
//!
//!   a terminal   the tree in place, cut to the screen; its last state stays when Ctrl-C ends it
//!   a pipe       one line for each change, after a line for each node and for what is not running
//!   -o json      one object for each change, after one for everything
//!
//! Goes on through losses of the connection, which it says.

use super::args::{Output, TreeArgs};
use super::changes::{Change, Memory};
use super::gather::{Gatherer, View};
use super::out::Out;
use super::rates::Rates;
use super::render::table::Table;
use super::render::{Paint, changes as draw_changes, tree as draw_tree};
use super::screen::{self, Pauses, Screen};
use super::session::Unanswered;
use super::{Failure, warn};
use jiff::tz::TimeZone;
use protocol::Timestamp;
use protocol::limits::short_text;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(1);

/// Begins with what was seen already; until Ctrl-C, or until a node refuses us.
pub(super) async fn watch(args: &TreeArgs, gatherer: &mut Gatherer, first: View, out: &mut Out) -> Result<(), Failure> {
    let ended = screen::told_to_end();
    tokio::pin!(ended);
    let mut face: Box<dyn Face> = match (args.output, out.width) {
        (Output::Table, Some(_)) => Box::new(InPlace::open(first.clone())?),
        (output, _) => Box::new(Lines::new(output)),
    };
    face.show(first, out)?;
    let mut pauses = Pauses::listen();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let mut look = pin!(async {
            ticks.tick().await;
            gatherer.look().await
        });
        let looked = loop {
            tokio::select! {
                looked = &mut look => break looked,
                () = pauses.next() => face.pause(out)?,
                () = &mut ended => return face.end(out),
            }
        };
        match looked {
            Ok(look) => face.show(look.view, out)?,
            Err(Unanswered::Lost(why)) => face.lost(&why, out)?,
            Err(refused) => {
                face.end(out)?;
                return Err(refused.into());
            }
        }
    }
}

/// What a look is shown on.
trait Face {
    fn show(&mut self, view: View, out: &mut Out) -> Result<(), Failure>;
    fn lost(&mut self, why: &str, out: &mut Out) -> Result<(), Failure>;
    /// Stops this process until somebody lets it go on.
    fn pause(&mut self, out: &mut Out) -> Result<(), Failure>;
    fn end(&mut self, out: &mut Out) -> Result<(), Failure>;
}

/// One line a change.
struct Lines {
    output: Output,
    memory: Memory,
    zone: TimeZone,
    first: bool,
    is_lost: bool,
}

impl Lines {
    fn new(output: Output) -> Self {
        Self { output, memory: Memory::default(), zone: TimeZone::system(), first: true, is_lost: false }
    }

    /// Of the first look people want to know what is wrong; programs, everything.
    fn is_wanted(&self, change: &Change) -> bool {
        self.output == Output::Json || !self.first || change.path.is_none() || change.is_bad()
    }
}

impl Face for Lines {
    fn show(&mut self, view: View, out: &mut Out) -> Result<(), Failure> {
        if !view.silent.is_empty() {
            self.lost(&view.silent.join("; "), out)?;
        } else if std::mem::take(&mut self.is_lost) {
            warn("an answer again");
        }
        let changes = self.memory.see(&view);
        for change in changes.iter().filter(|change| self.is_wanted(change)) {
            match self.output {
                Output::Json => out.json_line(change)?,
                Output::Table => out.line(&draw_changes::line(change, &self.zone, out.style))?,
            }
        }
        self.first = false;
        out.flush()
    }

    fn lost(&mut self, why: &str, _: &mut Out) -> Result<(), Failure> {
        // That it lasts is no news.
        if !std::mem::replace(&mut self.is_lost, true) {
            warn(format!("{why}; asking again each second"));
        }
        Ok(())
    }

    fn pause(&mut self, _: &mut Out) -> Result<(), Failure> {
        screen::stop();
        Ok(())
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Failure> {
        out.flush()
    }
}

/// The tree itself, drawn over the last one.
struct InPlace {
    screen: Option<Screen>,
    view: View,
    rates: Rates,
    lost: Option<String>,
}

impl InPlace {
    fn open(view: View) -> Result<Self, Failure> {
        Ok(Self { screen: Some(Screen::open()?), view, rates: Rates::default(), lost: None })
    }

    fn draw(&self, out: &mut Out) -> Result<(), Failure> {
        let head = match &self.lost {
            Some(why) => (Paint::Bad, format!("reconnecting: {}", short_text(why))),
            None => (Paint::Aside, "each second; Ctrl-C ends".to_owned()),
        };
        let mut lines = vec![vec![head]];
        lines.extend(self.table().lines());
        out.text(&screen::over(lines, screen::rows(), screen::columns(), out.style))?;
        out.flush()
    }

    fn table(&self) -> Table {
        let table = draw_tree::table(&self.view.nodes, &self.view.absent, &self.rates, Timestamp::now());
        table.cut_to(screen::columns())
    }
}

impl Face for InPlace {
    fn show(&mut self, view: View, out: &mut Out) -> Result<(), Failure> {
        self.rates = Rates::between(&self.view, &view);
        self.lost = (!view.silent.is_empty()).then(|| view.silent.join("; "));
        self.view = view;
        self.draw(out)
    }

    fn lost(&mut self, why: &str, out: &mut Out) -> Result<(), Failure> {
        self.lost = Some(why.to_owned());
        self.draw(out)
    }

    fn pause(&mut self, out: &mut Out) -> Result<(), Failure> {
        self.screen.as_ref().map_or(Ok(()), Screen::pause)?;
        self.draw(out)
    }

    /// The last state stays on the terminal.
    fn end(&mut self, out: &mut Out) -> Result<(), Failure> {
        self.screen = None;
        out.text(&self.table().render(out.style))?;
        out.flush()
    }
}
