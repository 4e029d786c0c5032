//! `sluice demo`.

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

/// Runs the demo; the exit code is 0 when every outcome was the expected one, 1 otherwise, 2 when it could not run.
pub fn run(_args: DemoArgs) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("the demo is being built")
}
