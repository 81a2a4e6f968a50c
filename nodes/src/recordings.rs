//! Recordings: what is on an edge's disk, checked by hand.

use crate::cli::args::Output;
use crate::launch;
use actors::recording::check::{self, Options, Report};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const HELP: &str = "\
Examples:
  watchtree-edge recordings check --config edge.toml            what is wrong, if anything
  watchtree-edge recordings check --config edge.toml --repair   and put right what can be

Takes that nobody finished are cut behind their last whole fragment and finished, and the index is
made to agree with the files, or made anew. Nothing is deleted. The node does the same when it
starts, but for the checksums: with --repair it must not run.

Exit codes:
  0 nothing is wrong, or all of it was repaired    1 something is wrong
  2 wrong command line    78 wrong configuration";

/// For lines of words.
const COLUMNS: usize = 80;
const INDENT: usize = 12;

#[derive(Debug, Subcommand)]
pub enum RecordingsCommand {
    /// Look at each file of footage, and at what the index has of it
    #[command(after_help = HELP)]
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The edge's configuration file: it says where its recordings are
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// Cut, finish and index what is not
    #[arg(long)]
    repair: bool,
    /// Compare lengths with the index, and no checksums: footage is not read whole
    #[arg(long)]
    quick: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(command: &RecordingsCommand) -> ExitCode {
    let RecordingsCommand::Check(args) = command;
    let config = match launch::read_config(&args.config, config::edge) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let root = config.record.dir.clone().unwrap_or_else(|| config.node.data_dir.join("recordings"));
    let report = match check::check(&root, Options { repair: args.repair, quick: args.quick }) {
        Ok(report) => report,
        Err(why) => {
            match args.output {
                Output::Table => eprintln!("watchtree-edge recordings: {why}"),
                Output::Json => eprintln!("{}", serde_json::json!({ "error": why.to_string() })),
            }
            return ExitCode::FAILURE;
        }
    };
    let text = match args.output {
        Output::Table => render(&root, &report, args.repair),
        Output::Json => serde_json::to_string_pretty(&report).expect("a report is text and numbers") + "\n",
    };
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn render(root: &Path, report: &Report, repair: bool) -> String {
    let mut out = format!("{}\n", root.display());
    for problem in &report.problems {
        let _ = writeln!(out, "\n{}", problem.path.display());
        let done = if problem.repaired { "repaired: " } else { "" };
        let kind = problem.kind.as_str();
        for (at, line) in wrap(&format!("{done}{}", problem.text)).iter().enumerate() {
            let _ = writeln!(out, "{:INDENT$}{line}", if at == 0 { kind } else { "" });
        }
    }
    if report.problems_not_named > 0 {
        let _ = writeln!(out, "\nand {} more", report.problems_not_named);
    }
    let gib = report.bytes as f64 / f64::from(1 << 30);
    let repaired = report.problems.iter().filter(|problem| problem.repaired).count();
    let problems = report.problems.len() as u64 + report.problems_not_named;
    let _ = write!(out, "\n{} takes, {} clips, {gib:.2} GiB: ", report.takes, report.clips);
    match (problems, repaired) {
        (0, _) => out.push_str("nothing is wrong\n"),
        (1, _) => out.push_str("1 problem"),
        _ => drop(write!(out, "{problems} problems")),
    }
    if problems > 0 {
        let _ = writeln!(out, "{}", if repair { format!(", {repaired} repaired") } else { String::new() });
    }
    if report.in_use {
        out.push_str("The node runs: what it is writing, and its index, were left out.\n");
    } else if problems > 0 && !repair {
        out.push_str("With --repair what can be put right is.\n");
    }
    out
}

/// Words in lines beside the indent.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COLUMNS - INDENT {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::recording::check::{Problem, ProblemKind};

    #[test]
    fn a_report_fits_eighty_columns() {
        let problem = Problem {
            path: format!("2026-11-20/front-door/{:032x}.mp4", 7).into(),
            kind: ProblemKind::Unindexed,
            text: "it ends within a fragment: 1234567890 B of 2345678901 B are whole; it was cut there and finished"
                .into(),
            repaired: true,
        };
        let report = Report { takes: 3, clips: 1, bytes: 5 << 30, problems: vec![problem], ..Report::default() };
        let text = render(Path::new("/var/lib/watchtree/recordings"), &report, true);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.ends_with("\n3 takes, 1 clips, 5.00 GiB: 1 problem, 1 repaired\n"), "{text}");
    }
}
