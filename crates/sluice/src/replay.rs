//! `sluice replay`: the packet path of the node service over a capture, offline.
//!
//! ```text
//!   capture ──▶ whose port? ──▶ Worker over PcapIo ──▶ flow log (standard output), frames (--out)
//!                                 ▲        │
//!                      snapshot ──┘        └── DNS answers: in force before anything else happens
//! ```
//!
//! Time is that of the capture. Nothing is attached, sent or needed of the machine.

mod expect;
mod node;
mod place;
mod session;

use crate::observe::filter_args::FilterArgs;
use crate::observe::layout::LayoutArgs;
use anyhow::{Context as _, Result};
use clap::Args;
use expect::{Expectation, Seen};
use flowlog::Filters;
use flowlog::format::Printer;
use node::{Node, NodeOptions};
use packet::io::pcap::{CaptureReader, Output};
use place::PortMap;
use session::Session;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `sluice replay` takes.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Capture to replay, pcap or pcapng; - is standard input.
    #[arg(long, value_name = "FILE")]
    pcap: PathBuf,
    /// Write the frames that leave, forwarded and made here, to this pcap file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Folder with `sluice.yaml`, `inventory/` and `policies/`.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    config: PathBuf,
    /// Compare with this: JSON lines of `sluice observe` or of an earlier replay, or a YAML list of flows and verdicts.
    /// Exit code 1 if anything differs. Filters narrow what is compared, too.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// The node to be, as the inventory names it.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Frames of this interface of the capture, or from this Ethernet address, arrive on that port: NAME=namespace/pod
    /// or NAME=host; may be repeated.
    #[arg(long, value_name = "NAME=PORT")]
    port_map: Vec<PortMap>,
    /// Refuse connections whose beginning is not in the capture, as a node would that has been up all the time.
    #[arg(long)]
    no_adopt: bool,
    /// Do not print the flow log.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    filters: FilterArgs,
}

/// Replays.
///
/// # Errors
/// A capture, configuration or expectation that cannot be read, output that cannot be written.
pub fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let filters = args.filters.build()?;
    let wanted = Filters::compile(&filters)?;
    let expected = args.expect.as_deref().map(Expectation::read).transpose()?;
    let options = NodeOptions { node: args.node.as_deref(), adopt: !args.no_adopt, map: &args.port_map };
    let node = Node::load(&args.config, &options)?;
    let reader = CaptureReader::new(open(&args.pcap)?).with_context(|| args.pcap.display().to_string())?;
    let output = match &args.out {
        None => Output::None,
        Some(path) => {
            let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
            Output::One(Box::new(BufWriter::new(file)) as Box<dyn Write>)
        }
    };
    let mut printer = Printer::new(BufWriter::new(std::io::stdout().lock()), args.layout.options());
    let mut seen = Seen::default();
    let mut session = Session::new(node, reader, output)?;
    let played = session.run(&mut |record| {
        if !wanted.matches(record) {
            return Ok(());
        }
        if expected.is_some() {
            seen.add(record)?;
        }
        if !args.quiet {
            printer.record(record)?;
        }
        Ok(())
    });
    // What came before an error is shown.
    printer.flush()?;
    let summary = session.finish()?;
    played.with_context(|| args.pcap.display().to_string())?;
    eprintln!("{summary}");
    let Some(expected) = expected else { return Ok(ExitCode::SUCCESS) };
    let differences = expected.compare(&seen);
    if differences.is_empty() {
        eprintln!("as expected: {}", expected.summary());
        return Ok(ExitCode::SUCCESS);
    }
    let path = args.expect.as_deref().unwrap_or(Path::new("")).display();
    eprintln!("NOT as expected in {path}:");
    for difference in differences {
        eprintln!("  {difference}");
    }
    Ok(ExitCode::from(crate::cli::NO))
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}
