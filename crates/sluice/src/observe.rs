//! `sluice observe`: the flow log, with the flags and layouts of `hubble observe`.

mod events;
pub(crate) mod filter_args;
pub(crate) mod layout;
mod source;
pub(crate) mod when;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{ArgAction, Args, ValueEnum};
use filter_args::FilterArgs;
use flowlog::FlowFilter;
use flowlog::api::{DEFAULT_SOCKET, ObserveRequest};
use flowlog::filter::Filters;
use flowlog::format::{Layout, Options, Printer};
use flowlog::mask::FieldMask;
use jiff::Timestamp;
use layout::LayoutArgs;
use source::Told;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Records shown when nothing says how many (as Hubble).
const DEFAULT_LAST: u64 = 20;

/// What `sluice observe` takes.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    /// What to observe: flows (unless something else is said), or agent-events: what the node service did.
    #[arg(value_name = "WHAT", value_parser = ["flows", "agent-events", "debug-events"],
        hide_possible_values = true)]
    what: Option<String>,
    /// Socket of the node service, as unix:///path or a path.
    #[arg(long, alias = "socket", env = "SLUICE_SOCKET", value_name = "ADDRESS", default_value = DEFAULT_SOCKET)]
    server: String,
    /// Read JSON lines from a file (- is standard input) instead of asking the node service.
    #[arg(long, value_name = "FILE")]
    input_file: Option<String>,
    /// Read the history of a node service that does not run, from its folder.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["input_file", "follow"])]
    history: Option<PathBuf>,
    /// Show new flows as they come.
    #[arg(long, short)]
    follow: bool,
    /// The newest so many flows (20 unless another selection is made).
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    last: u64,
    /// The oldest so many flows.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    first: u64,
    /// All flows that are kept.
    #[arg(long)]
    all: bool,
    /// Flows since then: 5m, 2025-01-31, 2025-01-31T10:00:00Z.
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    since: Option<String>,
    /// Flows until then.
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    until: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Show what this filter matches: Hubble's FlowFilter as JSON.
    #[arg(long, value_name = "JSON", help_heading = "Raw filters")]
    allowlist: Vec<String>,
    /// Hide what this filter matches.
    #[arg(long, value_name = "JSON", help_heading = "Raw filters")]
    denylist: Vec<String>,
    /// Print the filters that the flags mean, and nothing else.
    #[arg(long, help_heading = "Raw filters")]
    print_raw_filters: bool,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Name the node.
    #[arg(long)]
    print_node_name: bool,
    /// Colours (compact and dict only).
    #[arg(long, value_enum, default_value = "auto")]
    color: ColorArg,
    /// Names of pods, services and hosts instead of addresses.
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1,
        require_equals = true, action = ArgAction::Set)]
    ip_translation: bool,
    /// Only these fields of each flow (JSON only): time,source.pod_name,verdict.
    #[arg(long, alias = "experimental-field-mask", value_name = "FIELDS", value_delimiter = ',')]
    field_mask: Vec<String>,
    /// Taken for Hubble's sake: the layouts choose their fields anyway.
    #[arg(long, alias = "experimental-use-default-field-masks", value_name = "BOOL", default_value_t = true,
        default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide = true)]
    use_default_field_masks: bool,
    /// Say nothing of lost events, and of flags that cannot match.
    #[arg(long, short)]
    silent_errors: bool,
    /// Taken for Hubble's sake: the node's socket needs no forwarding.
    #[arg(long, short = 'P', hide = true)]
    port_forward: bool,
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
    match args.what.as_deref() {
        Some("agent-events") => return agent_events(&args),
        Some("debug-events") => bail!(
            "there are no debug events: Cilium's come from its programs in the kernel, and here no such program decides \
             about packets. `sluice observe` shows what became of each packet, `sluice capture` the packets themselves, and \
             `sluice observe agent-events` what the node service did"
        ),
        _ => {}
    }
    let request = args.request(Timestamp::now())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.print_raw_filters {
        out.write_all(raw_filters(&request.filters)?.as_bytes())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let told = Told { silent: args.silent_errors };
    args.notes().iter().for_each(|note| told.say(note));
    let mut printer = Printer::new(out, args.options()?);
    if let Some(dir) = &args.history {
        crate::history::offline(dir, &request, &mut |record| Ok(printer.record(&record)?))?;
        printer.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    match args.input_file.as_deref() {
        Some("-") => source::lines(std::io::stdin().lock(), &request, &mut printer, told)?,
        Some(path) => {
            let file = File::open(path).with_context(|| format!("open {path}"))?;
            source::lines(BufReader::new(file), &request, &mut printer, told)
                .with_context(|| path.to_owned())?;
        }
        None => {
            let socket = source::socket(&args.server)?;
            args.filter.notes_from(socket).iter().for_each(|note| told.say(note));
            source::server(socket, request, &mut printer, told)?;
        }
    }
    printer.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn agent_events(args: &ObserveArgs) -> Result<ExitCode> {
    let request = events::request(args, Timestamp::now())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    events::show(source::socket(&args.server)?, request, &args.options()?, &mut out)?;
    Ok(ExitCode::SUCCESS)
}

impl ObserveArgs {
    /// What to ask, by Hubble's rules of which selections go together.
    fn request(&self, now: Timestamp) -> Result<ObserveRequest> {
        let (first, last) = (self.first > 0, self.last > 0);
        let clashes = [
            (first && last, "--first and --last"),
            (first && self.all, "--first and --all"),
            (first && self.follow, "--first and --follow"),
            (last && self.all, "--last and --all"),
        ];
        if let Some((_, flags)) = clashes.iter().find(|(clash, _)| *clash) {
            bail!("{flags} cannot be combined");
        }
        let table = self.layout.layout() == Layout::Table && self.follow && self.input_file.is_none();
        ensure!(
            !table,
            "-o table aligns its columns at the end and cannot be combined with --follow; use compact or dict"
        );
        let when = |flag: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| when::parse(text, now))
                .transpose()
                .with_context(|| format!("--{flag}"))
        };
        let since = when("since", &self.since)?;
        // One who follows goes on; Hubble takes no notice of --until then.
        let until = if self.follow { None } else { when("until", &self.until)? };
        let selected = first || self.all || since.is_some() || until.is_some();
        let from_file = self.input_file.is_some();
        let last = match self.last {
            0 if selected || from_file => None,
            0 if self.follow => Some(0),
            0 => Some(DEFAULT_LAST),
            given => Some(given),
        };
        let first = first.then_some(self.first);
        let follow = self.follow && !from_file;
        Ok(ObserveRequest { filters: self.filters()?, last, first, since, until, follow })
    }

    /// The filters of all flags together.
    fn filters(&self) -> Result<Filters> {
        let mut filters = self.filter.build()?;
        for (flag, texts, list) in [
            ("allowlist", &self.allowlist, &mut filters.allowlist),
            ("denylist", &self.denylist, &mut filters.denylist),
        ] {
            for text in texts {
                list.extend(FlowFilter::from_json(text).with_context(|| format!("--{flag} {text}"))?);
            }
        }
        Ok(Filters::from_lists(filters.allowlist, filters.denylist)?)
    }

    /// What somebody who typed these flags should know.
    fn notes(&self) -> Vec<String> {
        let from_file = self.input_file.is_some();
        let mut notes = if from_file { Vec::new() } else { self.filter.notes() };
        if self.follow && from_file {
            notes.push("--follow has no meaning with --input-file: the file is read to its end".to_owned());
        }
        if self.follow && self.until.is_some() && !from_file {
            notes.push("--until has no meaning with --follow".to_owned());
        }
        if self.port_forward {
            notes.push("--port-forward is not needed: the node's own socket is asked".to_owned());
        }
        notes
    }

    fn options(&self) -> Result<Options> {
        let mask = FieldMask::new(&self.field_mask)?;
        if !mask.is_empty() && self.layout.layout() != Layout::Json {
            bail!("--field-mask is for JSON only: add -o json");
        }
        let shown = self.layout.options();
        Ok(Options {
            node_name: self.print_node_name,
            ip_translation: self.ip_translation,
            mask,
            color: match self.color {
                ColorArg::Always => true,
                ColorArg::Never => false,
                ColorArg::Auto => shown.color,
            },
            ..shown
        })
    }
}

/// The filters as YAML, one JSON text for each, in the form that Hubble prints and its configuration takes.
fn raw_filters(filters: &Filters) -> Result<String> {
    let mut text = String::new();
    for (name, list) in [("allowlist", &filters.allowlist), ("denylist", &filters.denylist)] {
        if list.is_empty() {
            continue;
        }
        text.push_str(name);
        text.push_str(":\n");
        for filter in list {
            // A quote in a YAML single-quoted text is written twice.
            let json = serde_json::to_string(filter)?.replace('\'', "''");
            text.push_str(&format!("    - '{json}'\n"));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
