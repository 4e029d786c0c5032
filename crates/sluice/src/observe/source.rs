//! Where records come from: the node service, or lines that somebody kept.

use anyhow::{Context as _, Result, bail, ensure};
use flowlog::api::{
    LostEvents, NodeStatus, ObserveRequest, Request, ResponseLine, Selection, next_line, show_answer,
    show_line,
};
use flowlog::format::Printer;
use flowlog::record::Record;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// Bytes read from the socket at once: some two hundred records.
const READ: usize = 256 << 10;

/// Unreadable lines of a file that are told one by one.
const MAX_TOLD: u64 = 5;

/// Whether to say what is no record.
#[derive(Copy, Clone, Debug)]
pub(super) struct Told {
    /// Say nothing.
    pub(super) silent: bool,
}

impl Told {
    pub(super) fn say(self, what: &str) {
        if !self.silent {
            eprintln!("{what}");
        }
    }

    fn beside(self, answer: &ResponseLine) {
        if let Some(lost) = &answer.lost_events {
            self.lost(lost);
        }
        if let Some(status) = &answer.node_status {
            self.status(status);
        }
    }

    fn lost(self, lost: &LostEvents) {
        self.say(&format!("EVENTS LOST: {} {}", lost.source, lost.num_events_lost));
    }

    fn status(self, status: &NodeStatus) {
        let NodeStatus { state_change, node_names, message } = status;
        let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
        self.say(
            &format!("{state_change}: {}{message}", node_names.join(", "))
                .replace(char::is_control, "\u{fffd}"),
        );
    }
}

/// The node service's socket.
pub(super) fn socket(server: &str) -> Result<&Path> {
    let path = server.strip_prefix("unix://").unwrap_or(server);
    if !path.contains('/') && path.contains(':') {
        bail!(
            "--server {server}: the node service listens on a Unix socket: unix:///run/sluice/sluice.sock; \
               `hubble observe --server {server}` speaks to a Hubble API"
        );
    }
    Ok(Path::new(path))
}

/// Asks the node service.
pub(super) fn server<W: Write>(
    socket: &Path,
    request: ObserveRequest,
    printer: &mut Printer<W>,
    told: Told,
) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("cannot reach the node service on {}; is `sluice run` running?", socket.display())
    })?;
    let mut line = serde_json::to_vec(&Request::Observe(request))?;
    line.push(b'\n');
    stream.write_all(&line).context("ask")?;
    answer(&mut BufReader::with_capacity(READ, stream), printer, told)
}

/// Shows an answer.
pub(super) fn answer<R: std::io::Read, W: Write>(
    input: &mut BufReader<R>,
    printer: &mut Printer<W>,
    told: Told,
) -> Result<()> {
    Ok(show_answer(input, printer, &mut |other| told.beside(other))?)
}

/// Answers `request` from JSON lines: with the envelope, or bare flows as older exporters write them. A line that
/// cannot be read (a file cut short) is told and left out.
pub(super) fn lines<W: Write>(
    mut input: impl BufRead,
    request: &ObserveRequest,
    printer: &mut Printer<W>,
    told: Told,
) -> Result<()> {
    let selection = Selection::new(request)?;
    let keep = request.last.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut kept: VecDeque<Arc<Record>> = VecDeque::new();
    let (mut shown, mut number, mut unreadable, mut readable) = (0, 0, 0, 0_u64);
    let mut line = Vec::new();
    while next_line(&mut input, &mut line)? {
        number += 1;
        let read = match parse(&line) {
            Ok(Some(read)) => read,
            Ok(None) => continue,
            Err(error) => {
                unreadable += 1;
                if unreadable <= MAX_TOLD {
                    told.say(&format!("line {number} is left out: {error}"));
                }
                continue;
            }
        };
        readable += 1;
        let Some(flow) = &read.flow else {
            show_line(&read, &line, printer, &mut |other| told.beside(other))?;
            continue;
        };
        if !selection.matches(flow) {
            continue;
        }
        if let Some(keep) = keep {
            kept.push_back(Arc::clone(flow));
            if kept.len() > keep {
                kept.pop_front();
            }
        } else if request.first.is_none_or(|first| shown < first) {
            printer.record(flow)?;
            shown += 1;
        } else {
            break;
        }
    }
    kept.iter().try_for_each(|flow| printer.record(flow))?;
    ensure!(unreadable == 0 || readable > 0, "no line of it is a flow: expected JSON as `-o json` writes it");
    if unreadable > MAX_TOLD {
        told.say(&format!("{unreadable} lines were left out"));
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Option<ResponseLine>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let read: ResponseLine = serde_json::from_slice(line)?;
    if read.flow.is_some() || read.lost_events.is_some() || read.node_status.is_some() {
        return Ok(Some(read));
    }
    let flow: Record = serde_json::from_slice(line)?;
    // What has none of a flow's fields is something else, such as an agent event.
    Ok((flow != Record { time: flow.time, node_name: flow.node_name.clone(), ..Record::default() })
        .then(|| ResponseLine::from(Arc::new(flow))))
}
