//! `sluice observe`: the flow log, with the flags and layouts of `hubble observe`.

mod filter_args;
mod when;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use filter_args::FilterArgs;
use flowlog::api::{DEFAULT_SOCKET, ObserveRequest, Request, ResponseLine, Selection};
use flowlog::format::{Layout, Options, Printer};
use flowlog::record::Record;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IsTerminal as _, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

/// Records shown when nothing says how many (as Hubble).
const DEFAULT_LAST: u64 = 20;

/// What `sluice observe` takes.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    /// What to observe; flows is all there is for now.
    #[arg(value_parser = ["flows"])]
    what: Option<String>,
    /// Socket of the node service, as unix:///path or a path.
    #[arg(long, alias = "socket", env = "SLUICE_SOCKET", value_name = "ADDRESS", default_value = DEFAULT_SOCKET)]
    server: String,
    /// Read JSON lines from a file (- is standard input) instead of asking the node service.
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    input_file: Option<String>,
    /// Show new flows as they come.
    #[arg(long, short)]
    follow: bool,
    /// The newest so many flows (20 unless another selection is made).
    #[arg(long, value_name = "N", conflicts_with_all = ["first", "all"])]
    last: Option<u64>,
    /// The oldest so many flows.
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "follow"])]
    first: Option<u64>,
    /// All flows that are kept.
    #[arg(long)]
    all: bool,
    /// Flows since then: 5m, 2025-01-31, 2025-01-31T10:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Flows until then.
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Layout.
    #[arg(long, short, value_enum, default_value = "compact")]
    output: OutputArg,
    /// Format of times: StampMilli, RFC3339, RFC3339Milli, RFC3339Micro, RFC3339Nano, RFC1123Z, or strftime's.
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli", value_parser = when::parse_format)]
    time_format: String,
    /// Name the deciding rule of allowed flows too.
    #[arg(long)]
    print_policy_names: bool,
    /// Name the node.
    #[arg(long)]
    print_node_name: bool,
    /// Colours.
    #[arg(long, value_enum, default_value = "auto")]
    color: ColorArg,
    /// Addresses and numbers instead of names.
    #[arg(long)]
    numeric: bool,
}

/// `-o`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum OutputArg {
    Compact,
    Dict,
    #[value(alias = "jsonpb")]
    Json,
    #[value(alias = "tab")]
    Table,
}

/// `--color`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum ColorArg {
    Auto,
    Always,
    Never,
}

/// Shows flows.
///
/// # Errors
///
/// Flags that contradict each other, no node service, or output that cannot be written.
pub fn run(args: ObserveArgs) -> Result<ExitCode> {
    let request = args.request(Timestamp::now())?;
    let mut printer = Printer::new(BufWriter::new(std::io::stdout().lock()), args.options());
    match args.input_file.as_deref() {
        Some("-") => from_lines(std::io::stdin().lock(), &request, &mut printer)?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("open {path}"))?;
            from_lines(BufReader::new(file), &request, &mut printer).with_context(|| path.to_owned())?;
        }
        None => from_server(&args.server, request, &mut printer)?,
    }
    printer.flush()?;
    Ok(ExitCode::SUCCESS)
}

impl ObserveArgs {
    fn request(&self, now: Timestamp) -> Result<ObserveRequest> {
        let when = |text: &Option<String>| text.as_deref().map(|text| when::parse(text, now)).transpose();
        let (since, until) = (when(&self.since)?, when(&self.until)?);
        let selected = self.first.is_some() || self.all || since.is_some() || until.is_some();
        let from_file = self.input_file.is_some();
        let last = match self.last {
            None if selected || from_file => None,
            None if self.follow => Some(0),
            None => Some(DEFAULT_LAST),
            given => given,
        };
        let filters = self.filter.build()?;
        Ok(ObserveRequest { filters, last, first: self.first, since, until, follow: self.follow })
    }

    fn options(&self) -> Options {
        Options {
            layout: match self.output {
                OutputArg::Compact => Layout::Compact,
                OutputArg::Dict => Layout::Dict,
                OutputArg::Json => Layout::Json,
                OutputArg::Table => Layout::Table,
            },
            time_format: self.time_format.clone(),
            policy_names: self.print_policy_names,
            node_name: self.print_node_name,
            numeric: self.numeric,
            color: match self.color {
                ColorArg::Always => true,
                ColorArg::Never => false,
                ColorArg::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            },
            ..Options::default()
        }
    }
}

fn from_server<W: Write>(server: &str, request: ObserveRequest, printer: &mut Printer<W>) -> Result<()> {
    let path = server.strip_prefix("unix://").unwrap_or(server);
    let follow = request.follow;
    let mut stream = UnixStream::connect(path)
        .with_context(|| format!("cannot reach the node service on {path}; is `sluice run` running?"))?;
    let mut line = serde_json::to_string(&Request::Observe(request))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("ask")?;
    for line in BufReader::new(stream).lines() {
        let line = line.context("read the answer")?;
        if line.is_empty() {
            printer.flush()?;
            continue;
        }
        let answer: ResponseLine = serde_json::from_str(&line).context("read the answer")?;
        if let Some(error) = answer.error {
            bail!("{error}");
        }
        if let Some(lost) = answer.lost_events {
            eprintln!("{} events lost ({})", lost.num_events_lost, lost.source);
        }
        if let Some(flow) = answer.flow {
            printer.record(&flow)?;
            if follow {
                printer.flush()?;
            }
        }
    }
    Ok(())
}

/// Answers from JSON lines: with the envelope, or bare flows as older exporters write them.
fn from_lines<W: Write>(
    input: impl BufRead,
    request: &ObserveRequest,
    printer: &mut Printer<W>,
) -> Result<()> {
    let selection = Selection::new(request)?;
    let keep = request.last.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut kept: VecDeque<Arc<Record>> = VecDeque::new();
    let mut shown = 0;
    for (number, line) in input.lines().enumerate() {
        let line = line?;
        let Some(flow) = parse_line(&line).with_context(|| format!("line {}", number + 1))? else { continue };
        if !selection.matches(&flow) {
            continue;
        }
        if let Some(keep) = keep {
            kept.push_back(flow);
            if kept.len() > keep {
                kept.pop_front();
            }
        } else if request.first.is_none_or(|first| shown < first) {
            printer.record(&flow)?;
            shown += 1;
        } else {
            break;
        }
    }
    kept.iter().try_for_each(|flow| printer.record(flow))?;
    Ok(())
}

fn parse_line(line: &str) -> Result<Option<Arc<Record>>> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_str(line)?;
    if value.get("verdict").is_some() {
        return Ok(Some(serde_json::from_value(value)?));
    }
    let answer: ResponseLine = serde_json::from_value(value)?;
    Ok(answer.flow)
}

#[cfg(test)]
mod tests;
