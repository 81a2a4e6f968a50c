//! Enrol: `watchtree token create`, `watchtree revoke`, `watchtree revoked`.
//!
//!   token create ──▶ one relay with the authority ──▶ a token, told once
//!   revoke ───────▶ one core node, which tells the others ──▶ who is put out

use super::Failure;
use super::args::{Output, RevokeArgs, RevokedArgs, TokenCreateArgs};
use super::out::Out;
use super::render::{Cell, Table, time};
use super::session::{Dialler, Session, Unanswered};
use config::HostPort;
use protocol::admin::{Reply, Request};
use protocol::core::Revocation;
use protocol::enrol::TokenText;
use protocol::limits::short_text;
use protocol::link::{VIEWERS_LOOK, may_steer};
use protocol::{Role, Timestamp};
use serde::Serialize;

/// What a program is told.
#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    until: Timestamp,
    /// To be run on the new box.
    join: String,
}

pub(super) async fn create(args: &TokenCreateArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    may_act(&dialler)?;
    let session = dialler.dial_all(&args.access.connect).await?.into_iter().next().ok_or_else(nobody)?;
    let request = Request::CreateToken { role: args.role, name: args.name.clone(), ttl_s: args.ttl.as_secs() };
    let mut replies = session.ask(&request).await?;
    let (TokenText(token), until) = match replies.next().await? {
        Some(Reply::Token { token, until }) => (token, until),
        _ => return Err(replies.unexpected().into()),
    };
    let join = join_command(args.role, &token, &session.at);
    match args.output {
        Output::Json => out.json_document(&Made { token: &token, until, join })?,
        Output::Table => {
            out.line(&token)?;
            out.flush()?;
            let (role, name) = (args.role, &args.name);
            eprintln!("It lets in the {role} node {name}, once, until {}. On that box run:", time::clock(until));
            eprintln!("  {join}");
        }
    }
    out.flush()
}

fn join_command(role: Role, token: &str, at: &HostPort) -> String {
    format!("watchtree-{role} join {token} {at}")
}

pub(super) async fn revoke(args: &RevokeArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    may_act(&dialler)?;
    let session = dialler.dial_all(&args.access.connect).await?.into_iter().next().ok_or_else(nobody)?;
    let mut replies = session.ask(&Request::Revoke { name: args.name.clone(), role: args.role }).await?;
    let revoked = match replies.next().await {
        Ok(Some(Reply::Revoked(revoked))) => revoked,
        Ok(_) => return Err(replies.unexpected().into()),
        Err(Unanswered::Refused(why)) => return Err(Failure::new(why)),
        // It may be done, and only its answer lost.
        Err(Unanswered::Lost(why)) => {
            return Err(Failure::new(format!("{why}; whether it was done, `watchtree revoked` shows")));
        }
    };
    match args.output {
        Output::Json => out.json_document(&revoked)?,
        Output::Table => {
            for Revocation { who, .. } in &revoked {
                out.line(&format!("{who} is revoked; it joins again with a new token"))?;
            }
        }
    }
    out.flush()
}

pub(super) async fn revoked(args: &RevokedArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let mut all: Vec<Revocation> = Vec::new();
    for session in &sessions {
        all.extend(revoked_at(session).await?);
    }
    // The same from several nodes, or an older one where the news is still on its way.
    all.sort_by(|a, b| a.who.cmp(&b.who).then(b.at.cmp(&a.at)));
    all.dedup_by(|a, b| a.who == b.who);
    match args.output {
        Output::Json => out.json_document(&all)?,
        Output::Table if all.is_empty() => out.line("nobody is revoked")?,
        Output::Table => out.text(&table(&all, Timestamp::now()).cut_to(out.width).render(out.style))?,
    }
    out.flush()
}

async fn revoked_at(session: &Session) -> Result<Vec<Revocation>, Unanswered> {
    let mut replies = session.ask(&Request::Revoked).await?;
    let mut all = Vec::new();
    loop {
        match replies.next().await? {
            Some(Reply::Revoked(some)) => all.extend(some),
            Some(_) => return Err(replies.unexpected()),
            None => return Ok(all),
        }
    }
}

fn table(revoked: &[Revocation], now: Timestamp) -> Table {
    let mut table = Table::new(&["NODE", "REVOKED", "BY"], &[]);
    for Revocation { who, at, by } in revoked {
        let by = short_text(&by.to_string());
        table.row(vec![Cell::new(who.to_string()), Cell::new(time::ago(*at, now)), Cell::new(by)]);
    }
    table
}

fn may_act(dialler: &Dialler) -> Result<(), Failure> {
    // The node would say so too; this way it is said without one.
    let viewer = || format!("{VIEWERS_LOOK}; {} is a viewer's, --cert names another", dialler.shown());
    if may_steer(dialler.me().role) { Ok(()) } else { Err(Failure::new(viewer())) }
}

fn nobody() -> Failure {
    Failure::new("--connect names nobody")
}

#[cfg(test)]
mod tests {
    use super::super::render::Style;
    use super::*;

    #[test]
    fn what_is_to_be_run_on_the_box_stands_whole() {
        let at = "hub.example:7443".parse().expect("an address");
        assert_eq!(join_command(Role::Gpu, "wt1.x", &at), "watchtree-gpu join wt1.x hub.example:7443");
    }

    #[test]
    fn who_is_revoked_is_a_line_each() {
        let now: Timestamp = "2026-11-20T18:30:00Z".parse().expect("a time");
        let id = |text: &str| text.parse().expect("an identity");
        let at = now.minus(std::time::Duration::from_secs(180));
        let revoked = [Revocation { who: id("main/edge/yard"), at, by: id("main/operator/ada") }];
        let expected = "\
NODE            REVOKED  BY
main/edge/yard  3m ago   main/operator/ada
";
        assert_eq!(table(&revoked, now).render(Style::Plain), expected);
    }
}
