//! Captures: frames from the workers' taps, with names, as pcapng to whoever asks.
//!
//! ```text
//!   workers ──tap rings──▶ this client's thread: names · exact filter · pcapng ──▶ socket
//! ```
//!
//! On the wire the answer is a line of JSON ([`Part`]) after the other; `{"bytes":n}` is followed by as many bytes of
//! pcapng. The client ends a capture by closing its sending half. The node never holds more than the ring: a client
//! that reads too slowly loses frames, which is counted and told.

use super::names::Names;
use crate::capture::describe::{Described, describe};
use crate::run::shared::Shared;
use anyhow::{Context as _, Result, anyhow, bail};
use datapath::Snapshot;
use datapath::ports::{Port, PortKind};
use datapath::tap::{self, Coarse, MAX_SNAPLEN, Outcome, Setup, TapReader, Tapped};
use flowlog::Filters;
use flowlog::filter::CompiledFilters;
use flowlog::record::Verdict;
use packet::PortId;
use packet::io::pcap::{NgFrame, NgStatistics, NgWriter};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Frames of a capture that does not say how many.
pub const DEFAULT_FRAMES: u64 = 10_000;

/// Bytes of a capture that does not say how many.
pub const DEFAULT_BYTES: u64 = 64 << 20;

/// Frames that wait for one client.
const RING_FRAMES: usize = 16 << 10;

/// Bytes of frames that wait for one client.
const RING_BYTES: usize = 8 << 20;

/// Bytes of pcapng sent at a time.
const PART: usize = 256 << 10;

/// Pause where nothing waits; also how often it is looked whether the client is still there.
const PAUSE: Duration = Duration::from_millis(20);

/// The same while frames come.
const LOOK: Duration = Duration::from_millis(200);

/// Versions of policy whose names are kept for frames that were decided under them.
const VERSIONS: usize = 4;

/// Bytes of a block beside frame and comment, at most.
const OVERHEAD: u64 = 96;

/// What is to be captured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureRequest {
    /// Which frames: one matches where the record of the frame or of a message in it does.
    pub filters: Filters,
    /// Only frames that arrived on these ports: interface, `namespace/pod`, or `host`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Stop after so many frames.
    pub frames: u64,
    /// Stop before the capture is larger.
    pub bytes: u64,
    /// Stop after so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
    /// Most bytes kept of a frame.
    pub snaplen: u32,
    /// Also frames that the node made itself.
    pub generated: bool,
}

impl Default for CaptureRequest {
    fn default() -> Self {
        Self {
            filters: Filters::default(),
            ports: Vec::new(),
            frames: DEFAULT_FRAMES,
            bytes: DEFAULT_BYTES,
            millis: None,
            snaplen: MAX_SNAPLEN as u32,
            generated: false,
        }
    }
}

/// A line of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// So many bytes of pcapng follow.
    Bytes(usize),
    /// That was all.
    Done(Summary),
    /// There is no capture.
    Error(String),
}

/// What came of a capture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Frames captured.
    pub frames: u64,
    /// Bytes of pcapng.
    pub bytes: u64,
    /// Frames that were looked at.
    pub seen: u64,
    /// Frames that were lost because the client read too slowly.
    pub lost: u64,
    /// Why it ended.
    pub ended: String,
}

/// Captures until a limit is reached or the client has enough.
///
/// # Errors
/// When the client goes away.
pub fn serve(
    shared: &Shared,
    request: &CaptureRequest,
    client: &UnixStream,
    out: &mut dyn Write,
) -> Result<()> {
    match Capture::open(shared, request) {
        Ok(capture) => capture.run(client, out),
        Err(error) => say(out, &Part::Error(format!("{error:#}"))),
    }
}

fn say(out: &mut dyn Write, part: &Part) -> Result<()> {
    serde_json::to_writer(&mut *out, part)?;
    out.write_all(b"\n")?;
    out.flush().context("write the answer")
}

/// A tap that is open at every worker; closed when dropped.
struct Tap<'a> {
    shared: &'a Shared,
    id: u64,
    /// One for each worker.
    readers: Vec<TapReader>,
}

impl Drop for Tap<'_> {
    fn drop(&mut self) {
        let id = self.id;
        for worker in self.shared.workers.iter() {
            // What comes back is freed here and not by the worker. A worker that is gone has closed it.
            let _ = worker.ask(move |worker, _| worker.remove_tap(id));
        }
    }
}

impl<'a> Tap<'a> {
    /// Opens it. Memory is divided among the workers.
    fn open(shared: &'a Shared, snaplen: usize, coarse: &Coarse) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut tap = Self { shared, id, readers: Vec::new() };
        let count = shared.workers.count();
        for worker in shared.workers.iter() {
            let (frames, bytes, coarse) = (RING_FRAMES / count, RING_BYTES / count, coarse.clone());
            let (writer, reader) = tap::channel(Setup { id, frames, bytes, snaplen, coarse });
            let refused = worker.ask(move |worker, _| worker.add_tap(writer).err())?;
            if refused.is_some() {
                bail!("{} captures are running already; wait for one to end", tap::MAX_TAPS);
            }
            tap.readers.push(reader);
        }
        Ok(tap)
    }

    /// The oldest frame that was not taken yet. Frames of one connection come in their order; those of different workers as
    /// near to it as what the rings have by now.
    fn take(
        &mut self,
        frame: &mut Vec<u8>,
        messages: &mut Vec<(flowlog::FlowEvent, flowlog::Message<'static>)>,
    ) -> Option<Tapped> {
        let waiting = self.readers.iter_mut().filter_map(|reader| Some((reader.next_at()?, reader)));
        waiting.min_by_key(|(at, _)| *at)?.1.take(frame, messages)
    }

    fn lost(&self) -> u64 {
        self.readers.iter().map(TapReader::lost).sum()
    }

    fn lost_on(&self, port: PortId) -> u64 {
        self.readers.iter().map(|reader| reader.lost_on(port)).sum()
    }

    fn is_done(&self) -> bool {
        self.readers.iter().any(TapReader::is_done)
    }
}

/// What is counted of one interface of the capture.
#[derive(Default)]
struct Counts {
    interface: u32,
    port: PortId,
    name: String,
    seen: u64,
    accepted: u64,
    /// Frames lost on that port before the interface was there.
    lost_before: u64,
}

struct Capture<'a> {
    shared: &'a Shared,
    request: &'a CaptureRequest,
    allow: CompiledFilters,
    deny: CompiledFilters,
    tap: Tap<'a>,
    writer: NgWriter<Vec<u8>>,
    /// Bytes handed to the client.
    sent: u64,
    interfaces: BTreeMap<PortId, Counts>,
    /// Interfaces of ports that are another's now.
    former: Vec<Counts>,
    names: VecDeque<Names>,
    begun: u64,
    frames: u64,
    seen: u64,
}

impl<'a> Capture<'a> {
    fn open(shared: &'a Shared, request: &'a CaptureRequest) -> Result<Self> {
        let (allowlist, denylist) = (request.filters.allowlist.clone(), request.filters.denylist.clone());
        let allow = Filters { allowlist, denylist: Vec::new() }.compile()?;
        let deny = Filters { allowlist: Vec::new(), denylist }.compile()?;
        let snapshot = shared.snapshot.load_full();
        let ports = request.ports.iter().map(|wanted| port_of(wanted, &snapshot)).collect::<Result<_>>()?;
        let coarse = Coarse {
            ports,
            addrs: Vec::new(),
            dropped: only_dropped(&request.filters),
            generated: request.generated,
        };
        let snaplen = usize::try_from(request.snaplen).unwrap_or(MAX_SNAPLEN).clamp(14, MAX_SNAPLEN);
        let tap = Tap::open(shared, snaplen, &coarse)?;
        let program = concat!("sluice ", env!("CARGO_PKG_VERSION"));
        let about = format!("node {}, policy epoch {}", shared.node.name, snapshot.policy.epoch);
        let writer = NgWriter::new(Vec::with_capacity(PART), program, &about)?;
        let mut capture = Self {
            shared,
            request,
            allow,
            deny,
            tap,
            writer,
            sent: 0,
            interfaces: BTreeMap::new(),
            former: Vec::new(),
            names: VecDeque::new(),
            begun: wall(shared),
            frames: 0,
            seen: 0,
        };
        capture.refresh();
        for port in snapshot.ports.iter() {
            if request.ports.is_empty() || request.ports.iter().any(|wanted| is(port, wanted, &snapshot)) {
                capture.describe_port(port, &snapshot)?;
            }
        }
        Ok(capture)
    }

    fn run(mut self, client: &UnixStream, out: &mut dyn Write) -> Result<()> {
        let deadline = self.request.millis.map(|millis| Instant::now() + Duration::from_millis(millis));
        let (mut frame, mut messages) = (Vec::new(), Vec::new());
        let mut looked = Instant::now();
        client.set_read_timeout(Some(PAUSE))?;
        // Whoever reads a pipe shall see at once that there is something to come.
        self.send(out)?;
        let ended = loop {
            self.refresh();
            let mut idle = true;
            let mut full = None;
            while let Some(tapped) = self.tap.take(&mut frame, &mut messages) {
                idle = false;
                let fits = self.put(&tapped, &frame, &messages)?;
                if !fits {
                    full = Some("the largest size is reached");
                } else if self.frames >= self.request.frames {
                    full = Some("the number of frames is reached");
                }
                if full.is_some() || self.writer.get_mut().len() >= PART || looked.elapsed() >= LOOK {
                    break;
                }
            }
            self.send(out)?;
            if let Some(why) = full {
                break why;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break "the time is over";
            }
            if self.tap.is_done() {
                break "the packet path ended";
            }
            if idle || looked.elapsed() >= LOOK {
                looked = Instant::now();
                if has_enough(client) {
                    break "stopped";
                }
            }
        };
        self.finish(ended, out)
    }

    /// Names of the policy in force now.
    fn refresh(&mut self) {
        let current = self.shared.snapshot.load();
        if self.names.back().is_some_and(|names| Arc::ptr_eq(&names.snapshot, &current)) {
            return;
        }
        if self.names.len() == VERSIONS {
            self.names.pop_front();
        }
        let origin = self.shared.clock.started_at.as_nanosecond();
        self.names.push_back(Names::new(&current, origin, &self.shared.node));
    }

    /// Writes a frame if the filter wants it; `false` if it would be too much.
    fn put(
        &mut self,
        tapped: &Tapped,
        frame: &[u8],
        messages: &[(flowlog::FlowEvent, flowlog::Message<'_>)],
    ) -> Result<bool> {
        self.seen += 1;
        let epoch = tapped.event.epoch;
        let of_then = self.names.iter().rev().find(|names| names.snapshot.policy.epoch == epoch);
        let Some(names) = of_then.or(self.names.back()) else { return Ok(true) };
        let mut described = describe(tapped, messages, names);
        let snapshot = Arc::clone(&names.snapshot);
        let port = snapshot.ports.get(tapped.port);
        described.frame.interface = port.map(|port| {
            Box::new(flowlog::record::Interface {
                name: port.name.clone(),
                ..flowlog::record::Interface::default()
            })
        });
        let interface = match port {
            Some(port) => self.describe_port(port, &snapshot)?,
            None => self.describe_gone(tapped.port)?,
        };
        let wanted = self.wants(&described);
        let counts = self.interfaces.get_mut(&tapped.port).context("its interface was just described")?;
        counts.seen += 1;
        if !wanted {
            return Ok(true);
        }
        let size = frame.len() as u64 + described.comment.len() as u64 + OVERHEAD;
        if self.sent + self.writer.get_mut().len() as u64 + size > self.request.bytes {
            return Ok(false);
        }
        counts.accepted += 1;
        let nanos = self.shared.clock.started_at.as_nanosecond() + i128::from(tapped.event.at.as_nanos());
        self.writer.frame(&NgFrame {
            interface,
            nanos: u64::try_from(nanos).unwrap_or(0),
            original_len: tapped.len,
            bytes: frame,
            outbound: tapped.outcome == Outcome::Generated,
            lost_before: tapped.lost_before,
            comment: &described.comment,
        })?;
        self.frames += 1;
        Ok(true)
    }

    fn wants(&self, described: &Described) -> bool {
        let mut records = std::iter::once(&described.frame).chain(&described.messages);
        records.clone().any(|record| self.allow.matches(record))
            && records.all(|record| self.deny.matches(record))
    }

    /// The number of a port's interface block, written if it has none.
    fn describe_port(&mut self, port: &Port, snapshot: &Snapshot) -> Result<u32> {
        match self.interfaces.get(&port.id) {
            Some(known) if known.name == port.name => return Ok(known.interface),
            _ => {}
        }
        let facts = crate::capture::facts::write(port);
        self.add(port.id, &port.name, &owner(port, snapshot), &facts)
    }

    /// The same for a port that is gone since the frame came.
    fn describe_gone(&mut self, id: PortId) -> Result<u32> {
        match self.interfaces.get(&id) {
            Some(known) => Ok(known.interface),
            None => self.add(id, &format!("port{id}"), "a port that is gone", ""),
        }
    }

    fn add(&mut self, port: PortId, name: &str, description: &str, facts: &str) -> Result<u32> {
        let interface = self.writer.interface(name, description, facts, self.request.snaplen)?;
        let lost_before = self.tap.lost_on(port);
        let counts = Counts { interface, port, name: name.to_owned(), lost_before, ..Counts::default() };
        self.former.extend(self.interfaces.insert(port, counts));
        Ok(interface)
    }

    /// Hands what was written to the client.
    fn send(&mut self, out: &mut dyn Write) -> Result<()> {
        let written = self.writer.get_mut();
        if written.is_empty() {
            return Ok(());
        }
        self.sent += written.len() as u64;
        serde_json::to_writer(&mut *out, &Part::Bytes(written.len()))?;
        out.write_all(b"\n")?;
        out.write_all(written)?;
        written.clear();
        out.flush().context("write the capture")
    }

    /// Says what happened on every interface, and how it ended.
    fn finish(mut self, ended: &str, out: &mut dyn Write) -> Result<()> {
        let (from, to) = (self.begun, wall(self.shared));
        let current: Vec<Counts> = std::mem::take(&mut self.interfaces).into_values().collect();
        let former = std::mem::take(&mut self.former);
        for (counts, lives) in current.iter().map(|c| (c, true)).chain(former.iter().map(|c| (c, false))) {
            let lost = if lives { self.tap.lost_on(counts.port) - counts.lost_before } else { 0 };
            let Counts { seen, accepted, .. } = *counts;
            let of = NgStatistics { from, to, seen: seen + lost, lost, accepted };
            self.writer.statistics(counts.interface, &of)?;
        }
        self.send(out)?;
        let lost = self.tap.lost();
        let Self { frames, sent: bytes, seen, .. } = self;
        say(out, &Part::Done(Summary { frames, bytes, seen: seen + lost, lost, ended: ended.to_owned() }))
    }
}

/// Nanoseconds since 1970, as the node counts time.
fn wall(shared: &Shared) -> u64 {
    let now = shared.clock.started_at.as_nanosecond() + i128::from(shared.clock.now().as_nanos());
    u64::try_from(now).unwrap_or(0)
}

/// Whether the client closed its sending half. It sends nothing after its request, so anything to read is an end.
fn has_enough(mut client: &UnixStream) -> bool {
    match client.read_exact(&mut [0]) {
        Ok(()) => true,
        Err(error) => {
            !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
        }
    }
}

/// Who is behind a port.
fn owner(port: &Port, snapshot: &Snapshot) -> String {
    match &port.kind {
        PortKind::Host => "host".to_owned(),
        PortKind::Pod { endpoint, addrs } => {
            let endpoint = endpoint.and_then(|id| snapshot.policy.endpoint(id));
            match endpoint {
                Some(endpoint) => format!("{}/{}", endpoint.namespace, endpoint.name),
                None => addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            }
        }
    }
}

fn is(port: &Port, wanted: &str, snapshot: &Snapshot) -> bool {
    port.name == wanted || owner(port, snapshot) == wanted
}

fn port_of(wanted: &str, snapshot: &Snapshot) -> Result<PortId> {
    let found = snapshot.ports.iter().find(|port| is(port, wanted, snapshot));
    found.map(|port| port.id).ok_or_else(|| {
        let known: Vec<String> =
            snapshot.ports.iter().map(|port| format!("{} ({})", port.name, owner(port, snapshot))).collect();
        anyhow!("no port {wanted}; there are {}", known.join(", "))
    })
}

/// Whether the filters let nothing through but what was dropped or refused, which the worker can see.
fn only_dropped(filters: &Filters) -> bool {
    let refused = [Verdict::Dropped, Verdict::Error];
    !filters.allowlist.is_empty()
        && filters.allowlist.iter().all(|filter| {
            !filter.verdict.is_empty() && filter.verdict.iter().all(|verdict| refused.contains(verdict))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_is_stable() {
        let parts = [
            (Part::Bytes(12), r#"{"bytes":12}"#),
            (Part::Error("no".into()), r#"{"error":"no"}"#),
            (
                Part::Done(Summary { frames: 1, bytes: 2, seen: 3, lost: 4, ended: "stopped".into() }),
                r#"{"done":{"frames":1,"bytes":2,"seen":3,"lost":4,"ended":"stopped"}}"#,
            ),
        ];
        for (part, text) in parts {
            assert_eq!(serde_json::to_string(&part).expect("JSON"), text);
            assert_eq!(serde_json::from_str::<Part>(text).expect("JSON"), part);
        }
        let all: CaptureRequest = serde_json::from_str("{}").expect("all defaults");
        assert_eq!(all, CaptureRequest::default());
        assert_eq!((all.frames, all.bytes), (10_000, 64 << 20));
        assert!(serde_json::from_str::<CaptureRequest>(r#"{"frame":1}"#).is_err());
    }

    #[test]
    fn the_worker_looks_for_drops_only_where_nothing_else_can_match() {
        let filter = |flags: &[(&str, &str)]| {
            let mut builder = flowlog::filter::FilterBuilder::default();
            for (name, value) in flags {
                builder.flag(name, value, false);
            }
            only_dropped(&builder.build().expect("valid"))
        };
        assert!(!filter(&[]));
        assert!(!filter(&[("from-pod", "a/b")]));
        assert!(filter(&[("verdict", "DROPPED")]));
        assert!(filter(&[("verdict", "DROPPED"), ("pod", "a/b")]), "either end makes two filters");
        assert!(!filter(&[("verdict", "DROPPED"), ("verdict", "AUDIT")]));
    }
}
