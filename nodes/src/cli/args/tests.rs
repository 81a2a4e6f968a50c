//! What is understood on a command line, and what is refused.

use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;
use protocol::Role;
use supervision::FailureKind;
use supervision::history::Then;

fn parsed(line: &str) -> Command {
    Cli::try_parse_from(line.split_whitespace()).expect(line).command
}

fn check_refused(line: &str, kind: ErrorKind, names: &str) {
    let error = Cli::try_parse_from(line.split_whitespace()).expect_err(line);
    assert_eq!(error.kind(), kind, "{line}");
    assert_eq!(error.exit_code(), 2, "{line}");
    assert!(error.to_string().contains(names), "{line}: {error}");
}

#[test]
fn the_definition_has_no_contradiction() {
    Cli::command().debug_assert();
}

#[test]
fn several_targets_are_separated_by_commas() {
    let Command::Nodes(args) = parsed("watchtree nodes --connect hub:7443,[::1]:7444") else { panic!("not nodes") };
    let targets: Vec<String> = args.access.connect.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["hub:7443", "[::1]:7444"]);
}

#[test]
fn events_take_every_filter_at_once() {
    let line =
        "watchtree events -f --camera door --label person --from 10m --until 2026-11-20T18:30:00Z --limit 5 -o json";
    let Command::Events(args) = parsed(line) else { panic!("not events") };
    assert!(args.follow && args.output == Output::Json && args.limit == Some(5));
    assert_eq!(args.camera.expect("a camera").as_str(), "door");
    assert_eq!(args.until.expect("a time").to_string(), "2026-11-20T18:30:00Z");
    let age_s = Timestamp::now().since(args.from.expect("a time")).as_secs();
    assert!((600..660).contains(&age_s), "10m became {age_s} s");
}

#[test]
fn a_record_can_be_read_from_where_one_stopped() {
    let line = "watchtree record --edge yard --epoch 00000000000000ff --after 7 --limit 3 -o json";
    let Command::Record(args) = parsed(line) else { panic!("not record") };
    assert_eq!((args.edge.as_str(), args.epoch, args.after, args.limit), ("yard", Some(Epoch(255)), 7, Some(3)));
}

#[test]
fn a_certificate_is_for_the_main_tenant_and_a_year_unless_told() {
    let Command::Ca(CaCommand::Issue(args)) = parsed("watchtree ca issue --role edge --name yard") else {
        panic!("not issue")
    };
    assert_eq!((args.role, args.tenant.as_str(), args.days), (Role::Edge, "main", 365));
}

#[test]
fn a_token_is_good_for_an_hour_unless_told() {
    for (line, wanted_s) in [("", 3600), (" --ttl 15m", 900), (" --ttl 1h30m", 5400)] {
        let Command::Token(TokenCommand::Create(args)) =
            parsed(&format!("watchtree token create --role gpu --name engine{line}"))
        else {
            panic!("no token")
        };
        assert_eq!((args.role, args.ttl.as_secs()), (Role::Gpu, wanted_s));
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    check_refused("watchtree nodes --connect hub", ErrorKind::ValueValidation, "use host:port");
    check_refused("watchtree events --from yesterday", ErrorKind::ValueValidation, "10m");
    check_refused("watchtree events --limit 0", ErrorKind::ValueValidation, "--limit");
    check_refused("watchtree events --camera Door", ErrorKind::ValueValidation, "`Door` is not a name");
    check_refused("watchtree record", ErrorKind::MissingRequiredArgument, "--edge");
    check_refused("watchtree ca issue --role boss --name me", ErrorKind::ValueValidation, "use edge, relay, gpu");
    check_refused("watchtree ca issue --role edge --name yard --days 0", ErrorKind::ValueValidation, "--days");
    check_refused("watchtree token create --role edge --name yard --ttl 1", ErrorKind::ValueValidation, "15m");
    check_refused("watchtree token create --role edge", ErrorKind::MissingRequiredArgument, "--name");
    check_refused("watchtree revoke", ErrorKind::MissingRequiredArgument, "NAME");
    check_refused("watchtree camera set yard/door", ErrorKind::MissingRequiredArgument, "KEY=VALUE");
    check_refused("watchtree camera show yard//door", ErrorKind::ValueValidation, "NODE/PART");
    check_refused("watchtree frobnicate", ErrorKind::InvalidSubcommand, "frobnicate");
}

#[test]
fn the_short_help_leaves_out_the_raw_record() {
    assert!(!Cli::command().render_help().to_string().contains("record --edge"));
    assert!(Cli::command().render_long_help().to_string().contains("watchtree record --edge"));
}

#[test]
fn the_help_names_every_kind_of_failure_and_whatever_may_follow() {
    let mut cli = Cli::command();
    let failures = cli.find_subcommand_mut("failures").expect("there is one");
    let help = failures.render_help().to_string();
    let words = FailureKind::ALL.map(FailureKind::as_str).into_iter();
    let followed = [Then::Restarted, Then::Parked, Then::Escalated, Then::Ended, Then::Exited].map(Then::as_str);
    let untold: Vec<&str> = words.chain(followed).filter(|word| !help.contains(word)).collect();
    assert!(untold.is_empty(), "{untold:?}: {help}");
}

#[test]
fn a_program_is_told_of_errors_in_the_form_it_asked_for() {
    for (line, speaks_json) in [
        ("watchtree tree", false),
        ("watchtree tree -o json", true),
        ("watchtree inject yard/outbox panic -o json", true),
        ("watchtree events -f --output json", true),
        ("watchtree record --edge yard", true),
        ("watchtree token create --role edge --name yard -o json", true),
        ("watchtree revoke yard", false),
        ("watchtree camera list yard -o json", true),
        ("watchtree camera set yard/door priority=high", false),
        ("watchtree ca init", false),
    ] {
        assert_eq!(parsed(line).speaks_json(), speaks_json, "{line}");
    }
}
