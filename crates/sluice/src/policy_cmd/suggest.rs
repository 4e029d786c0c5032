//! `sluice policy suggest`: the least policies that allow what the flow log shows.

mod select;

use super::{files_of, source};
use crate::cli::print;
use crate::run::files::MAX_POLICIES;
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use flowlog::api::{DEFAULT_SOCKET, ObserveRequest, Request, ResponseLine, Selection};
use flowlog::record::Record;
use jiff::Timestamp;
use select::SelectArgs;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use suggest::{Document, Options, Subject, Suggester};

/// Longest line of a recording: Hubble's records are a few KiB.
const MAX_LINE: u64 = 1 << 20;

/// `sluice policy suggest`.
#[derive(Args, Debug)]
pub struct SuggestArgs {
    /// A recording (`sluice observe -o json`, an export, or Hubble's; - is standard input) instead of the node's log.
    #[arg(long, value_name = "FILE")]
    flows: Option<String>,
    /// Socket of the node service, as unix:///path or a path.
    #[arg(long, alias = "socket", env = "SLUICE_SOCKET", value_name = "ADDRESS", default_value = DEFAULT_SOCKET)]
    server: String,
    /// Policies for these workloads only: NAMESPACE, or NAMESPACE/KEY=VALUE; may be repeated. `--namespace` does the
    /// same for a namespace.
    #[arg(long = "for", value_name = "NAMESPACE[/SELECTOR]")]
    subjects: Vec<Subject>,
    /// Also allow what default deny refused. What a deny rule refused is never allowed.
    #[arg(long)]
    include_denied: bool,
    /// No conditions on messages: ports only.
    #[arg(long, conflicts_with = "l7")]
    no_l7: bool,
    /// Conditions on the messages that were seen: HTTP, DNS, Kafka, server names (the default).
    #[arg(long)]
    l7: bool,
    /// Only add to what is in force: never switch on default deny.
    #[arg(long)]
    add_only: bool,
    /// Write policies in audit mode (annotation `sluice.io/audit`): what they deny is let pass and shown as AUDIT.
    #[arg(long)]
    audit: bool,
    /// Leave a direction in which a workload was never seen as it is, instead of closing it.
    #[arg(long)]
    leave_unseen_open: bool,
    /// Leave out what the policies in this file or folder allow already; may be repeated.
    #[arg(long, value_name = "PATH")]
    existing: Vec<PathBuf>,
    /// Outside addresses of one port that are written one by one; more become prefixes.
    #[arg(long, value_name = "N", default_value_t = Options::default().cidr_threshold)]
    cidr_threshold: usize,
    /// Names under one suffix that are written one by one; more become `*.suffix`.
    #[arg(long, value_name = "N", default_value_t = Options::default().name_threshold)]
    name_threshold: usize,
    /// Path segments under one prefix that are written one by one; more become `[^/?]+`.
    #[arg(long, value_name = "N", default_value_t = Options::default().path_threshold)]
    path_threshold: usize,
    /// Output format.
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: OutputArg,
    /// Which records.
    #[command(flatten)]
    select: SelectArgs,
}

/// `-o`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum OutputArg {
    Yaml,
    Json,
}

/// `sluice policy suggest`.
///
/// # Errors
/// Flags that contradict each other, no node service, or a recording that is none.
pub fn suggest(args: &SuggestArgs) -> Result<ExitCode> {
    let request = args.select.request(Timestamp::now())?;
    let mut suggester = Suggester::new(args.options()?);
    let mut lost = 0;
    match args.flows.as_deref() {
        Some("-") => from_lines(std::io::stdin().lock(), "standard input", &request, &mut suggester)?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("open {path}"))?;
            from_lines(BufReader::new(file), path, &request, &mut suggester)?;
        }
        None => lost = from_server(&args.server, request, &mut suggester)?,
    }
    let suggestion = suggester.finish();
    let text = match args.output {
        OutputArg::Yaml => suggestion.to_yaml(),
        OutputArg::Json => serde_json::to_string_pretty(&suggestion.to_json())? + "\n",
    };
    let mut notes = suggestion.notes;
    if lost > 0 {
        notes.push(format!("{lost} records were lost on the way: what they showed is not allowed"));
    }
    if args.select.is_part() && !suggestion.documents.iter().all(Document::adds_only) {
        notes.push("made from a selection of the records: where these policies switch on default deny, all else is refused (--for narrows without that)".to_owned());
    }
    if suggestion.documents.is_empty() {
        notes.push("nothing to suggest".to_owned());
    }
    for note in notes {
        eprintln!("note: {note}");
    }
    if suggestion.documents.is_empty() && args.output == OutputArg::Yaml {
        return Ok(ExitCode::SUCCESS);
    }
    print(&text)
}

impl SuggestArgs {
    fn options(&self) -> Result<Options> {
        let mut subjects = self.subjects.clone();
        for namespace in self.select.namespaces() {
            subjects.push(namespace.parse()?);
        }
        let mut existing = Vec::new();
        for path in files_of(&self.existing)? {
            existing.push(source(&path, MAX_POLICIES)?);
        }
        Ok(Options {
            subjects,
            existing,
            include_denied: self.include_denied,
            l7: !self.no_l7,
            add_only: self.add_only,
            audit: self.audit,
            close_unseen: !self.leave_unseen_open && !self.select.is_part(),
            cidr_threshold: self.cidr_threshold,
            name_threshold: self.name_threshold,
            path_threshold: self.path_threshold,
            ..Options::default()
        })
    }
}

/// Asks the node service; how many records it could not give.
fn from_server(server: &str, request: ObserveRequest, suggester: &mut Suggester) -> Result<u64> {
    let path = server.strip_prefix("unix://").unwrap_or(server);
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!("cannot reach the node service on {path}; is `sluice run` running? (--flows reads a file)")
    })?;
    let mut line = serde_json::to_string(&Request::Observe(request))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("ask")?;
    let progress = std::io::stderr().is_terminal();
    let (mut lost, mut read) = (0_u64, 0_u64);
    for line in BufReader::new(stream).lines() {
        let line = line.context("read the answer")?;
        if line.is_empty() {
            continue;
        }
        let answer: ResponseLine = serde_json::from_str(&line).context("read the answer")?;
        if let Some(error) = answer.error {
            bail!("{error}");
        }
        lost = lost.saturating_add(answer.lost_events.map_or(0, |events| events.num_events_lost));
        if let Some(flow) = answer.flow {
            suggester.observe(&flow);
            read += 1;
            if progress && read.is_multiple_of(100_000) {
                eprint!("\r{read} records");
            }
        }
    }
    if progress && read >= 100_000 {
        eprintln!();
    }
    Ok(lost)
}

fn from_lines(
    mut input: impl BufRead,
    name: &str,
    request: &ObserveRequest,
    suggester: &mut Suggester,
) -> Result<()> {
    let selection = Selection::new(request)?;
    let newest = request.last.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut kept = std::collections::VecDeque::new();
    let (mut line, mut taken) = (Vec::new(), 0_u64);
    for number in 1_u64.. {
        line.clear();
        let read = input
            .by_ref()
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut line)
            .with_context(|| name.to_owned())?;
        if read == 0 {
            break;
        }
        ensure!(read as u64 <= MAX_LINE, "{name}:{number}: a line of more than {MAX_LINE} bytes");
        let record = parse(&line).with_context(|| format!("{name}:{number}"))?;
        let Some(record) = record.filter(|record| selection.matches(record)) else { continue };
        match newest {
            Some(newest) => {
                kept.push_back(record);
                if kept.len() > newest {
                    kept.pop_front();
                }
            }
            None if request.first.is_some_and(|first| taken >= first) => break,
            None => {
                suggester.observe(&record);
                taken += 1;
            }
        }
    }
    kept.iter().for_each(|record| suggester.observe(record));
    Ok(())
}

/// A record with its envelope, or bare as older exporters write it; none where a line is about something else.
fn parse(line: &[u8]) -> Result<Option<Record>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut value: serde_json::Value = serde_json::from_slice(line).context("not a line of JSON")?;
    if let Some(error) = value.get("error") {
        bail!("the recording ends with an error: {error}");
    }
    let has = |keys: &[&str]| keys.iter().any(|key| value.get(key).is_some());
    let (record, other) =
        (has(&["IP", "l4", "verdict"]), has(&["lost_events", "agent_event", "debug_event", "node_status"]));
    let record = match value.get_mut("flow") {
        Some(flow) => flow.take(),
        None if record => value,
        None if other => return Ok(None),
        None => bail!("not a record of a flow log: neither `flow` nor another known kind"),
    };
    Ok(Some(serde_json::from_value(record).context("not a record of a flow log")?))
}
