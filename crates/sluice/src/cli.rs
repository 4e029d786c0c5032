//! From what was typed to an exit code.

use crate::api::client::{ask, ask_lines};
use crate::api::request::Request;
use crate::args::{
    Args, Command, CtCommand, FqdnCommand, ListOnly, Output, PolicyCommand, ShowArgs, StatusArgs,
};
use crate::{bugreport, capture, demo, observe, policy_cmd, replay, run, show, top, watch};
use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;

/// Exit code for "no": invalid, denied, failed.
pub const NO: u8 = 1;

/// Exit code for a wrong command line, and for what cannot run at all.
pub const CANNOT: u8 = 2;

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    // A closed pipe (`sluice ct list | head`) ends a command quietly; clap itself exits with 2 on wrong usage.
    let args = Args::parse();
    match dispatch(args.command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", show::bad("error:", &std::io::stderr()));
            ExitCode::from(CANNOT)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Observe(args) => observe::run(args),
        Command::Capture(args) => capture::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Status(args) => status(&args),
        Command::Top(args) => top::run(&args),
        Command::Bugreport(args) => bugreport::run(&args),
        Command::Endpoint(ListOnly::List(args)) => answer(&args, &Request::Endpoints, show::endpoints),
        Command::Identity(ListOnly::List(args)) => answer(&args, &Request::Identities, show::identities),
        Command::Ip(ListOnly::List(args)) => answer(&args, &Request::Ips, show::ips),
        Command::Fqdn(FqdnCommand::List { name, endpoint, show }) => {
            answer(&show, &Request::Fqdns { name, endpoint }, show::fqdns)
        }
        Command::Ct(CtCommand::List { limit, show }) => connections(&show, limit),
        Command::Policy(command) => policy(command),
        Command::Metrics(server) => {
            let text = ask(&server.socket, &Request::Metrics)?;
            print(text.as_str().unwrap_or_default())
        }
        Command::Ui(args) => crate::ui::print_address(&args),
        Command::Cleanup(args) => run::cleanup(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "sluice", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Args::command()).render(&mut page)?;
            print(&String::from_utf8_lossy(&page))
        }
    }
}

fn policy(command: PolicyCommand) -> Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => policy_cmd::check(&args),
        PolicyCommand::Verdict(args) => policy_cmd::verdict(&args),
        PolicyCommand::Explain(args) => policy_cmd::explain(&args),
        PolicyCommand::Diff(args) => policy_cmd::diff(&args),
        PolicyCommand::Suggest(args) => policy_cmd::suggest(&args),
        PolicyCommand::List(args) => answer(&args, &Request::Policies, show::policies),
        PolicyCommand::Get { name, show } => answer(&show, &Request::Policy { name }, show::policy),
        PolicyCommand::Map { endpoint, show } => {
            answer(&show, &Request::PolicyMap { endpoint }, show::policy_map)
        }
    }
}

fn status(args: &StatusArgs) -> Result<ExitCode> {
    let Some(seconds) = args.watch else { return answer(&args.show, &Request::Status, show::status) };
    let page = || text(args.show.output, &ask(&args.show.server.socket, &Request::Status)?, show::status);
    match watch::repeat(f64::from(seconds), page)? {}
}

/// Asks the node service and shows the answer in the format asked for.
fn answer(args: &ShowArgs, request: &Request, table: fn(&Value) -> String) -> Result<ExitCode> {
    let value = ask(&args.server.socket, request)?;
    emit(args.output, &value, table)
}

fn connections(args: &ShowArgs, limit: usize) -> Result<ExitCode> {
    let mut list = Vec::new();
    ask_lines(&args.server.socket, &Request::Conntrack { limit }, |value| {
        list.push(value);
        Ok(())
    })?;
    emit(args.output, &Value::Array(list), show::connections)
}

/// Writes a value in the format asked for.
///
/// # Errors
/// When standard output is closed.
pub fn emit(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<ExitCode> {
    print(&text(output, value, table)?)
}

fn text(output: Output, value: &Value, table: impl FnOnce(&Value) -> String) -> Result<String> {
    Ok(match output {
        Output::Table => table(value),
        Output::Json => serde_json::to_string_pretty(value)? + "\n",
        Output::Yaml => serde_yaml::to_string(value)?,
    })
}

/// Writes a text to standard output.
///
/// # Errors
/// When it is closed.
pub fn print(text: &str) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
