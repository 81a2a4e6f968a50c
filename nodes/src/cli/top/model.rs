//! What `watchtree top` knows and shows, and what keys do to it. Pure.

use crate::cli::gather::View;
use crate::cli::rates::Rates;
use crate::cli::render::top::Shown;
use config::HostPort;
use protocol::Timestamp;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Whether to go on after a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// Into the background, for a while.
    Aside,
    Home,
}

pub(super) struct Model {
    /// Whom we ask, and below which path.
    pub title: String,
    pub view: View,
    pub rates: Rates,
    pub shown: Shown,
    /// Why nobody answers, since the last view.
    pub lost: Option<String>,
    /// The first row on the screen.
    pub offset: usize,
    /// Rows there are, and rows the screen has: as last drawn.
    pub rows: usize,
    pub page: usize,
}

impl Model {
    pub fn new(targets: &[HostPort], path: Option<&str>, view: View) -> Self {
        let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
        let below = path.map(|path| format!(" {path}")).unwrap_or_default();
        Self {
            title: format!("{}{below}", targets.join(",")),
            view,
            rates: Rates::default(),
            shown: Shown::All,
            lost: None,
            offset: 0,
            rows: 0,
            page: 0,
        }
    }

    pub fn see(&mut self, view: View) {
        self.rates = Rates::between(&self.view, &view);
        (self.view, self.lost) = (view, None);
    }

    /// What was seen last stays.
    pub fn lose(&mut self, why: String) {
        self.lost = Some(why);
        self.rates = Rates::default();
    }

    /// Actors, and those of them that do not run.
    pub fn counts(&self) -> (usize, usize) {
        let actors = || self.view.nodes.iter().flat_map(|node| &node.actors);
        (actors().count(), actors().filter(|actor| actor.state != "running").count())
    }

    /// Seconds since the view.
    pub fn age_s(&self, now: Timestamp) -> u64 {
        now.since(self.view.at).as_secs()
    }

    /// To be called when it is known how much there is and how much fits.
    pub fn fit(&mut self, rows: usize, page: usize) {
        (self.rows, self.page) = (rows, page);
        self.offset = self.offset.min(rows.saturating_sub(page));
    }

    pub fn obey(&mut self, event: &Event) -> Goes {
        let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return Goes::On };
        if *kind == KeyEventKind::Release {
            return Goes::On;
        }
        let page = self.page.saturating_sub(1).max(1);
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Goes::Home,
            KeyCode::Char('z') if modifiers.contains(KeyModifiers::CONTROL) => return Goes::Aside,
            KeyCode::Char('q') | KeyCode::Esc => return Goes::Home,
            KeyCode::Char('f') => self.toggle_shown(),
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.offset += page,
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = self.rows,
            _ => {}
        }
        self.fit(self.rows, self.page);
        Goes::On
    }

    fn toggle_shown(&mut self) {
        self.shown = match self.shown {
            Shown::All => Shown::NotRunning,
            Shown::NotRunning => Shown::All,
        };
        self.offset = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::samples::{actor, now, snapshot};
    use std::time::Duration;
    use tokio::time::Instant;

    fn model() -> Model {
        let mut door = actor("yard/door");
        door.state = "parked".to_owned();
        let nodes = vec![snapshot("main/edge/yard", vec![actor("yard"), door])];
        let view = View { nodes, absent: vec![], silent: vec![], at: now(), taken: Instant::now() };
        let mut model = Model::new(&["hub:7443".parse().expect("an address")], Some("yard"), view);
        model.fit(100, 20);
        model
    }

    fn press(model: &mut Model, code: KeyCode) -> Goes {
        model.obey(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn scrolling_stops_at_both_ends() {
        let mut model = model();
        for (code, expected) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 20),
            (KeyCode::End, 80),
            (KeyCode::Down, 80),
            (KeyCode::PageUp, 61),
            (KeyCode::Home, 0),
        ] {
            assert_eq!(press(&mut model, code), Goes::On);
            assert_eq!(model.offset, expected, "{code:?}");
        }
    }

    #[test]
    fn a_larger_screen_shows_what_it_can() {
        let mut model = model();
        press(&mut model, KeyCode::End);
        model.fit(100, 90);
        assert_eq!(model.offset, 10);
        model.fit(5, 90);
        assert_eq!(model.offset, 0);
    }

    #[test]
    fn q_escape_and_ctrl_c_leave_and_a_plain_c_does_not() {
        let mut model = model();
        assert_eq!(press(&mut model, KeyCode::Char('q')), Goes::Home);
        assert_eq!(press(&mut model, KeyCode::Esc), Goes::Home);
        assert_eq!(press(&mut model, KeyCode::Char('c')), Goes::On);
        let ctrl_c = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert_eq!(model.obey(&ctrl_c), Goes::Home);
    }

    #[test]
    fn ctrl_z_steps_aside_and_a_plain_z_does_not() {
        let mut model = model();
        let ctrl_z = Event::Key(KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL));
        assert_eq!(model.obey(&ctrl_z), Goes::Aside);
        assert_eq!(press(&mut model, KeyCode::Char('z')), Goes::On);
    }

    #[test]
    fn no_key_steers() {
        let mut model = model();
        for key in ['p', 'r', 'u', 'x'] {
            assert_eq!(press(&mut model, KeyCode::Char(key)), Goes::On);
        }
        assert_eq!((model.offset, model.shown), (0, Shown::All));
        press(&mut model, KeyCode::Char('f'));
        assert_eq!(model.shown, Shown::NotRunning);
    }

    #[test]
    fn what_was_seen_last_stays_while_nobody_answers() {
        let mut model = model();
        model.lose("hub is lost".to_owned());
        assert_eq!((model.counts(), model.view.nodes.len()), ((2, 1), 1));
        assert_eq!(model.age_s(now().plus(Duration::from_secs(4))), 4);
        model.see(model.view.clone());
        assert_eq!(model.lost, None);
    }
}
