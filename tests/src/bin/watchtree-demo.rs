//! `watchtree-demo`: the whole of watchtree on one machine, until Ctrl-C. `make demo` runs it.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use tests::demo::Demo;

#[derive(Debug, Parser)]
#[command(version, about = "Starts a test camera, an edge, a gpu node and a relay, and follows their events")]
struct Args {
    /// An empty directory for everything that is written; removed at the end
    #[arg(long)]
    dir: PathBuf,
    /// End after so long with a line of JSON, and fail if no event was labelled
    #[arg(long)]
    seconds: Option<u64>,
    /// End when this process ends; may be given more than once
    #[arg(long, value_name = "PID")]
    tied_to: Vec<u32>,
}

// Everything starts from this thread, because what it starts dies with it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let demo = Demo { dir: args.dir.clone(), seconds: args.seconds, tied_to: args.tied_to };
    let result = demo.run().await;
    // The script that made it does this too, unless it is what died.
    if let Err(error) = std::fs::remove_dir_all(&args.dir) {
        eprintln!("demo: {} is left behind: {error}", args.dir.display());
    }
    let summary = match result {
        Ok(summary) => summary,
        Err(why) => {
            eprintln!("demo: {why:#}");
            return ExitCode::FAILURE;
        }
    };
    if args.seconds.is_none() {
        return ExitCode::SUCCESS;
    }
    println!("{}", serde_json::to_string(&summary).expect("plain data"));
    if summary.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
