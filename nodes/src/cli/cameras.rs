//! Cameras: `watchtree camera list`, `show`, `set`, `remove`, `reset`.
//!
//!   path, change ──▶ a relay that the edge is linked to ══▶ the edge ──▶ what was done
//!
//! One relay is asked and no other: a change is made once.

use super::Failure;
use super::args::{Access, CameraArgs, CameraCommand, CameraKeysArgs, CameraListArgs, CameraSetArgs, Output};
use super::out::Out;
use super::render::{Cell, Table, state_paint};
use super::session::{Dialler, Session, Unanswered};
use super::steering::responsible;
use super::warn;
use protocol::admin::{Reply, Request, Steered};
use protocol::cameras::{CameraChange, CameraSheet};
use protocol::limits::{CAMERA_TOML_BYTES_MAX, short_text};
use protocol::link::{VIEWERS_LOOK, may_change_cameras};
use protocol::transport::Version;
use serde::Serialize;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Actors stop and start for it, one after the other.
const DONE_WITHIN: Duration = Duration::from_secs(30);

/// What a program is told.
#[derive(Serialize)]
struct Done<'a> {
    path: &'a str,
    /// `set`, `remove`, `reset`
    act: &'static str,
    text: String,
}

pub(super) async fn obey(command: &CameraCommand, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    match command {
        CameraCommand::List(args) => list(args, dialler, out).await,
        CameraCommand::Show(args) => show(args, dialler, out).await,
        CameraCommand::Set(args) => {
            let toml = keys(args)?;
            change(&args.camera, CameraChange::Set { toml }, dialler, out).await
        }
        CameraCommand::Remove(CameraKeysArgs { camera, keys }) => {
            change(camera, CameraChange::Remove { keys: keys.clone() }, dialler, out).await
        }
        CameraCommand::Reset(CameraKeysArgs { camera, keys }) => {
            change(camera, CameraChange::Reset { keys: keys.clone() }, dialler, out).await
        }
    }
}

fn keys(args: &CameraSetArgs) -> Result<String, Failure> {
    let named = |file: &Path, why: String| Failure::new(format!("{}: {why}", file.display()));
    let text = args.file.as_deref().map(|file| text(file).map_err(|why| named(file, why))).transpose()?;
    let keys = config::camera_keys(text.as_deref(), &args.pairs);
    keys.map_err(|why| match &args.file {
        Some(file) => named(file, why),
        None => Failure::new(why),
    })
}

fn text(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(file).map_err(|why| why.to_string())?;
    file.take(CAMERA_TOML_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(|why| why.to_string())?;
    match text.len() <= CAMERA_TOML_BYTES_MAX {
        true => Ok(text),
        false => Err(format!("it is larger than {CAMERA_TOML_BYTES_MAX} B; set less at once")),
    }
}

async fn list(args: &CameraListArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let (sheets, omitted) = sheets(&args.access, &args.edge, dialler).await?;
    match args.output {
        Output::Json => out.json_document(&sheets)?,
        Output::Table => out.text(&table(&sheets).cut_to(out.width).render(out.style))?,
    }
    out.flush()?;
    if omitted > 0 {
        warn(format!("{omitted} more cameras do not fit the answer; name one, as in {}/CAMERA", args.edge));
    }
    Ok(())
}

fn table(sheets: &[CameraSheet]) -> Table {
    let mut table = Table::new(&["CAMERA", "STATE", "URL", "CHANGED"], &[]);
    for sheet in sheets {
        let state = Cell::painted(state_paint(&sheet.state), &sheet.state);
        let changed = Cell::new(sheet.changed.join(","));
        let cells = vec![Cell::new(sheet.camera.as_str()), state, Cell::new(&sheet.url), changed];
        match &sheet.reason {
            Some(reason) => table.row_or_below(cells, Cell::new(reason)),
            None => table.row(cells),
        }
    }
    table
}

async fn show(args: &CameraArgs, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    let (sheets, _) = sheets(&args.access, &args.path, dialler).await?;
    let Some(sheet) = sheets.first().filter(|_| sheets.len() == 1) else {
        return Err(Failure::new(format!("{} is an edge; name a camera, as in {0}/CAMERA", args.path)));
    };
    match args.output {
        Output::Json => out.json_document(sheet)?,
        Output::Table => {
            let reason = sheet.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            out.line(&format!("# {}: {}{reason}", args.path, sheet.state))?;
            if !sheet.changed.is_empty() {
                out.line(&format!("# changed through the API: {}", sheet.changed.join(", ")))?;
            }
            let toml = sheet.toml.as_deref().unwrap_or_default();
            toml.lines().try_for_each(|line| out.line(&harmless(line)))?;
        }
    }
    out.flush()
}

/// A line of any length, without what steers a terminal.
fn harmless(line: &str) -> String {
    protocol::limits::short(line, CAMERA_TOML_BYTES_MAX)
}

async fn sheets(access: &Access, path: &str, dialler: Dialler) -> Result<(Vec<CameraSheet>, u32), Failure> {
    let sessions = dialler.dial_all(&access.connect).await?;
    let session = knowing(responsible(&sessions, path).await?)?;
    let mut replies = session.ask(&Request::Cameras { path: path.to_owned() }).await?;
    match replies.next().await? {
        Some(Reply::Cameras { cameras, omitted }) => Ok((cameras, omitted)),
        _ => Err(replies.unexpected().into()),
    }
}

async fn change(args: &CameraArgs, change: CameraChange, dialler: Dialler, out: &mut Out) -> Result<(), Failure> {
    if !may_change_cameras(dialler.me().role) {
        // The node would say so too; this way it is said without one.
        return Err(Failure::new(format!("{VIEWERS_LOOK}; {} is a viewer's, --cert names another", dialler.shown())));
    }
    let sessions = dialler.dial_all(&args.access.connect).await?;
    let session = knowing(responsible(&sessions, &args.path).await?)?;
    let act = change.as_str();
    let Steered { text, .. } = ask(session, &args.path, change).await?;
    match args.output {
        Output::Json => out.json_document(&Done { path: &args.path, act, text })?,
        Output::Table => out.line(&short_text(&text))?,
    }
    out.flush()
}

async fn ask(session: &Session, path: &str, change: CameraChange) -> Result<Steered, Failure> {
    let mut replies = session.ask(&Request::ChangeCamera { path: path.to_owned(), change }).await?;
    match replies.next_within(DONE_WITHIN).await {
        Ok(Some(Reply::Steered(told))) => Ok(told),
        Ok(_) => Err(replies.unexpected().into()),
        Err(Unanswered::Refused(why)) => Err(Failure::new(why)),
        // It may have been done, and only its answer lost.
        Err(Unanswered::Lost(why)) => {
            Err(Failure::new(format!("{why}; whether it was done, `watchtree camera show {path}` shows")))
        }
    }
}

/// An older relay has no word for it.
fn knowing(session: &Session) -> Result<&Session, Failure> {
    match session.version() >= Version::EDGE {
        true => Ok(session),
        false => Err(Failure::new(format!("the software of {} is too old for it; upgrade it", session.node()))),
    }
}
