//! `sluice bugreport`: everything needed to understand a node, in one archive without secrets.
//!
//! It works without a running node service too: what cannot be had is named, with the reason, in `report.txt`.

mod collect;
mod redact;
#[cfg(test)]
mod tests;

use crate::args::SocketArgs;
use crate::cli;
use anyhow::{Context as _, Result};
use collect::Collector;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// `sluice bugreport`.
#[derive(clap::Args, Debug)]
pub struct BugreportArgs {
    /// The archive to write (tar, gzip). It must not exist yet.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Where to ask.
    #[command(flatten)]
    server: SocketArgs,
    /// Configuration folder.
    #[arg(long, value_name = "DIR", env = "SLUICE_CONFIG", default_value = "/etc/sluice")]
    config: PathBuf,
    /// Newest flow records to put in.
    #[arg(long, default_value_t = 4095, value_name = "N")]
    flows: u64,
    /// Leave flow records, connections and names from DNS out.
    #[arg(long)]
    no_traffic: bool,
}

/// Writes it.
///
/// # Errors
/// The archive exists already, or cannot be written.
pub fn run(args: &BugreportArgs) -> Result<ExitCode> {
    let path = &args.output;
    // Only for whoever made it: traffic of other people is in it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("make {}", path.display()))?;
    let mut collector = Collector::new(GzEncoder::new(file, Compression::default()));
    collector.node(&args.server.socket, &args.config, (!args.no_traffic).then_some(args.flows))?;
    collector.machine()?;
    let (parts, missing) = (collector.parts(), collector.missing());
    collector.finish()?.finish().context("write the archive")?.sync_all().context("write the archive")?;
    let size = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let mut said = format!("{}: {parts} files, {} KiB\n", path.display(), size.div_ceil(1024));
    if missing > 0 {
        said.push_str(&format!("{missing} could not be had; report.txt in it says why\n"));
    }
    said.push_str(
        "Tokens, keys, credentials and queries were taken out. Have a look before you pass it on.\n",
    );
    cli::print(&said)
}
