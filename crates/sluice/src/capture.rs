//! `sluice capture`: frames as they arrived, each with the decision on it, as pcapng.

pub mod describe;
pub mod facts;
mod size;

use crate::api::capture::{CaptureRequest, DEFAULT_FRAMES, Part, Summary};
use crate::api::request::Request;
use crate::args::SocketArgs;
use crate::observe::filter_args::FilterArgs;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use flowlog::FlowFilter;
use packet::io::pcap::MAX_FRAME_LEN;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, BufWriter, IsTerminal as _, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Longest line of an answer.
const MAX_LINE: u64 = 64 << 10;

/// What `sluice capture` takes.
#[derive(Args, Debug)]
pub struct CaptureArgs {
    /// Where to ask.
    #[command(flatten)]
    server: SocketArgs,
    /// File to write (pcapng); - is standard output, as in `sluice capture -o - | wireshark -k -i -`.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Stop after so many frames.
    #[arg(long, short, value_name = "N", default_value_t = DEFAULT_FRAMES, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Stop after that time: 10s, 5m.
    #[arg(long, value_name = "TIME", value_parser = size::duration)]
    duration: Option<Duration>,
    /// Stop before the capture is larger than that: 500K, 64M, 2G.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size::bytes)]
    max_size: u64,
    /// Keep so many bytes of each frame.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FRAME_LEN as u32, value_parser = clap::value_parser!(u32).range(14..=MAX_FRAME_LEN as i64))]
    snaplen: u32,
    /// Only frames that arrive on this port: its interface, `namespace/pod`, or `host`; may be repeated.
    #[arg(long, value_name = "PORT")]
    on: Vec<String>,
    /// Also frames that the node makes itself: refusals, resets, ICMP errors, acknowledgements.
    #[arg(long)]
    generated: bool,
    /// A filter as JSON (Hubble's FlowFilter); may be repeated: frames that match any of them.
    #[arg(long, value_name = "JSON")]
    filter: Vec<String>,
    #[command(flatten)]
    filters: FilterArgs,
}

impl CaptureArgs {
    fn request(&self) -> Result<CaptureRequest> {
        let mut filters = self.filters.build()?;
        for text in &self.filter {
            filters.allowlist.extend(FlowFilter::from_json(text).context("--filter")?);
        }
        Ok(CaptureRequest {
            filters,
            ports: self.on.clone(),
            frames: self.count,
            bytes: self.max_size,
            millis: self.duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            snaplen: self.snaplen,
            generated: self.generated,
        })
    }
}

/// Captures.
///
/// # Errors
/// No node service, a filter that cannot be read, a file that cannot be written.
pub fn run(args: &CaptureArgs) -> Result<ExitCode> {
    let request = args.request()?;
    let begun = Instant::now();
    let summary = if args.output == Path::new("-") {
        if std::io::stdout().is_terminal() {
            bail!("a capture is no text: give a file to -o, or send standard output somewhere");
        }
        ask(&args.server.socket, &request, || Ok(std::io::stdout().lock()))?
    } else {
        // What passes between pods is nobody else's business.
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&args.output).with_context(|| format!("write {}", args.output.display()))
        };
        ask(&args.server.socket, &request, open)?
    };
    eprintln!("{}", said(&summary, begun.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// What came of it, for people.
fn said(summary: &Summary, took: Duration) -> String {
    let Summary { frames, bytes, seen, lost, ended } = summary;
    let lost = match lost {
        0 => "none lost".to_owned(),
        lost => format!("{lost} LOST because this end was too slow"),
    };
    let (size, secs) = (size::show(*bytes), took.as_secs_f64());
    format!("{frames} frames captured of {seen} seen ({size}, {secs:.1} s), {lost}; {ended}")
}

/// Asks, and hands the capture to what `open` opens once there is one.
fn ask<W: Write>(
    socket: &Path,
    request: &CaptureRequest,
    open: impl FnOnce() -> Result<W>,
) -> Result<Summary> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("cannot reach the node service on {}; is `sluice run` running?", socket.display())
    })?;
    let mut line = serde_json::to_string(&Request::Capture(Box::new(request.clone())))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).context("ask")?;
    stop_on_signal(stream.try_clone()?)?;
    let mut reader = BufReader::new(stream);
    let mut opener = Some(open);
    let mut out: Option<BufWriter<W>> = None;
    loop {
        let mut line = String::new();
        reader.by_ref().take(MAX_LINE).read_line(&mut line).context("read the answer")?;
        if line.is_empty() {
            bail!("the node service ended in the middle of the capture; what it sent is kept");
        }
        match serde_json::from_str(&line).context("read the answer")? {
            Part::Error(message) => bail!("{message}"),
            Part::Bytes(len) => {
                if let Some(open) = opener.take() {
                    out = Some(BufWriter::new(open()?));
                }
                let out = out.as_mut().context("read the answer")?;
                let copied = std::io::copy(&mut reader.by_ref().take(len as u64), out).context("write")?;
                out.flush().context("write")?;
                if copied < len as u64 {
                    bail!("the node service ended in the middle of the capture; what it sent is kept");
                }
            }
            Part::Done(summary) => return Ok(summary),
        }
    }
}

/// The first request to end stops the capture in order; the second one ends the program.
fn stop_on_signal(stream: UnixStream) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
    let listen = move || {
        for (number, _) in signals.forever().enumerate() {
            if number > 0 {
                std::process::exit(i32::from(crate::cli::CANNOT));
            }
            let _ = stream.shutdown(Shutdown::Write);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).context("listen for signals")?;
    Ok(())
}
