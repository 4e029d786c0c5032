//! `sluice demo`: a small cluster in network namespaces, its policies, and who may ask whom for what, shown live.
//!
//! Where namespaces or AF_XDP are missing the same conversations run through the memory backend, and the output says
//! so in its first and last line.

mod conversation;
mod live;
mod memory;
mod missing_rule;
mod report;
mod rpc;
mod stack;

use std::process::ExitCode;

use anyhow::Result;

use crate::testbed::{self, Leftovers, prereq};

/// What was typed after `sluice demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Leave the cluster running and print commands to try; `sluice demo --cleanup` removes it.
    #[arg(long)]
    pub keep: bool,
    /// Remove what earlier demos left behind (kept or crashed) and exit.
    #[arg(long, conflicts_with_all = ["keep", "memory"])]
    pub cleanup: bool,
    /// Use the memory backend even where namespaces and AF_XDP are available.
    #[arg(long, conflicts_with = "keep")]
    pub memory: bool,
}

/// Runs the demo; the exit code is 0 when every outcome was the expected one and 1 otherwise.
///
/// # Errors
/// It could not run at all: a step was refused, or the user interrupted.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    if args.cleanup {
        let removed = testbed::cleanup(Leftovers::CrashedAndKept);
        println!("removed {} leftover cluster(s){}", removed.len(), list(&removed));
        return Ok(ExitCode::SUCCESS);
    }
    let missing = if args.memory { Vec::new() } else { prereq::missing() };
    for thing in &missing {
        eprintln!("missing: {}: {}", thing.what, thing.remedy);
    }
    let as_expected = if args.memory || !missing.is_empty() {
        if args.keep {
            anyhow::bail!("--keep needs the real cluster, and this machine lacks what is named above");
        }
        memory::run()?
    } else {
        live::run(args.keep)?
    };
    Ok(if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(tags: &[String]) -> String {
    if tags.is_empty() { String::new() } else { format!(": {}", tags.join(", ")) }
}
