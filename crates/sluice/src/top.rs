//! `sluice top`: what a node does right now, redrawn every second: busiest flows, drops with their rule, requests per
//! second with their latencies.
//!
//! Bytes come from the connection table (a flow that lives shows no record), drops and messages from the flow log.

mod model;
mod screen;
mod source;
#[cfg(test)]
mod tests;

use crate::args::{Output, SocketArgs};
use crate::cli;
use anyhow::{Result, bail};
use model::Model;
use source::Source;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// `sluice top`.
#[derive(clap::Args, Debug)]
pub struct TopArgs {
    /// Where to ask.
    #[command(flatten)]
    server: SocketArgs,
    /// Time between two looks, in seconds.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    interval: f64,
    /// Look twice, print what happened between, and end; so without a terminal too.
    #[arg(long)]
    once: bool,
    /// With `--once`: how to print it.
    #[arg(short, long, value_enum, default_value_t, requires = "once")]
    output: Output,
    /// Rows of each table.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    rows: u16,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.2..=60.0).contains(&value) => Ok(value),
        _ => Err("write a number of seconds from 0.2 to 60".into()),
    }
}

/// Shows it until `q` is pressed.
///
/// # Errors
/// No node service answers, or there is no terminal to draw on.
pub fn run(args: &TopArgs) -> Result<ExitCode> {
    let interval = Duration::from_secs_f64(args.interval);
    let mut source = Source::open(&args.server.socket)?;
    let mut model = Model::default();
    source.look(&mut model)?;
    if args.once {
        std::thread::sleep(interval);
        source.look(&mut model)?;
        let picture = model.picture(usize::from(args.rows));
        return cli::emit(args.output, &serde_json::to_value(&picture)?, |_| picture.text());
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("there is no terminal to draw on; `sluice top --once` prints tables");
    }
    let mut screen = screen::Screen::open()?;
    let mut paused = false;
    loop {
        if !paused {
            screen.draw(&model.picture(usize::from(args.rows)), paused)?;
        }
        let next = Instant::now() + interval;
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match screen.key(left)? {
                Some(screen::Key::Quit) => return Ok(ExitCode::SUCCESS),
                Some(screen::Key::Pause) => {
                    paused = !paused;
                    screen.draw(&model.picture(usize::from(args.rows)), paused)?;
                }
                Some(screen::Key::Sort) => {
                    model.sort_by_next();
                    screen.draw(&model.picture(usize::from(args.rows)), paused)?;
                }
                None => {}
            }
        }
        source.look(&mut model)?;
    }
}
