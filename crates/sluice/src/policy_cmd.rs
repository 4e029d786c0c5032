//! `sluice policy check|verdict|explain|diff`: without a running node.

use crate::args::{CheckArgs, DiffArgs, ExplainArgs, VerdictArgs};
use anyhow::{Result, bail};
use std::process::ExitCode;

pub fn check(_args: &CheckArgs) -> Result<ExitCode> {
    bail!("later")
}
pub fn verdict(_args: &VerdictArgs) -> Result<ExitCode> {
    bail!("later")
}
pub fn explain(_args: &ExplainArgs) -> Result<ExitCode> {
    bail!("later")
}
pub fn diff(_args: &DiffArgs) -> Result<ExitCode> {
    bail!("later")
}
