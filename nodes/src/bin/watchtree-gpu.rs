//! watchtree-gpu: runs the models, for a cluster or for files.

use actors::inference::detect::Detect;
use clap::{Args, Parser, Subcommand};
use nodes::join::{self, JoinArgs};
use nodes::launch::{self, NodeArgs};
use nodes::trees;
use protocol::model::EngineKind;
use std::path::PathBuf;
use std::process::ExitCode;

/// Judges frames with models, on a GPU or a CPU.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    node: Option<NodeArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Judge images and videos, and print each detection as a line of JSON
    Detect(DetectArgs),
    /// Join a site with a token: make this box's key, and get its certificate
    #[command(after_help = join::HELP)]
    Join(JoinArgs),
}

#[derive(Args)]
struct DetectArgs {
    /// The model's specification; config/models has some
    #[arg(long, value_name = "SPEC")]
    model: PathBuf,
    /// Which engine runs it
    #[arg(long, default_value = "auto", value_parser = engine)]
    engine: EngineKind,
    /// Images (.jpg) and videos
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn engine(text: &str) -> Result<EngineKind, String> {
    match text {
        "auto" => Ok(EngineKind::Auto),
        "rten" => Ok(EngineKind::Rten),
        "mock" => Ok(EngineKind::Mock),
        _ => Err("use auto, rten or mock".to_owned()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Detect(args)) => return detect(&args),
        Some(Command::Join(args)) => return join::run(&args, protocol::Role::Gpu),
        None => {}
    }
    let Some(args) = cli.node else { unreachable!("clap asks for --config unless there is a subcommand") };
    let config = match launch::read_config(&args.config, config::gpu) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let (node, tls) = (config.node.clone(), config.tls.clone());
    launch::run(&args, protocol::Role::Gpu, &node, &tls, async |ground| trees::gpu::tree(config, ground))
}

fn detect(args: &DetectArgs) -> ExitCode {
    launch::start_log(config::LogFormat::Text, "warn");
    let spec = match launch::read_config(&args.model, config::model::load) {
        Ok(spec) => spec,
        Err(code) => return code,
    };
    match judge_files(args, spec) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("watchtree-gpu detect: {why:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn judge_files(args: &DetectArgs, spec: protocol::model::ModelSpec) -> anyhow::Result<()> {
    let ports = launch::own_dir()?;
    let detect = Detect {
        camera_port: ports.join("watchtree-camera-port"),
        model_port: ports.join("watchtree-model-port"),
        spec,
        engine: args.engine,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    detect.run(&args.files, &mut out).await.map_err(anyhow::Error::msg)
}
