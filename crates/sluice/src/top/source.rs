//! Where the numbers come from: the API socket, asked at every look; and the flow log, followed all the time.

use super::model::{Connection, Health, Model};
use crate::api::client::{ask, ask_lines};
use crate::api::request::Request;
use anyhow::{Context as _, Result};
use flowlog::Record;
use flowlog::api::{ObserveRequest, ResponseLine, next_line};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

/// Connections looked at each time.
const CONNECTIONS: usize = 10_000;

/// Records that wait between two looks; more are counted as lost.
const RECORDS: usize = 65_536;

/// What the follower hands over.
enum News {
    Record(Arc<Record>),
    Lost(u64),
}

/// The node service.
pub(super) struct Source {
    socket: PathBuf,
    news: Receiver<News>,
    overrun: Arc<std::sync::atomic::AtomicU64>,
    names: BTreeMap<String, String>,
    last: Option<Instant>,
}

impl Source {
    pub(super) fn open(socket: &Path) -> Result<Self> {
        let (sender, news) = sync_channel(RECORDS);
        let overrun = Arc::new(std::sync::atomic::AtomicU64::new(0));
        // Asked first, so that a missing node service is told once, and well.
        ask(socket, &Request::Status)?;
        let mut stream = UnixStream::connect(socket).context("follow the flow log")?;
        let request = Request::Observe(ObserveRequest { last: Some(0), follow: true, ..Default::default() });
        let mut line = serde_json::to_string(&request)?;
        line.push('\n');
        stream.write_all(line.as_bytes()).context("follow the flow log")?;
        let counted = Arc::clone(&overrun);
        let follow = move || follow(stream, &sender, &counted);
        std::thread::Builder::new().name("follow".into()).spawn(follow).context("follow the flow log")?;
        Ok(Self { socket: socket.to_owned(), news, overrun, names: BTreeMap::new(), last: None })
    }

    /// Looks once more.
    pub(super) fn look(&mut self, model: &mut Model) -> Result<()> {
        for news in self.news.try_iter() {
            match news {
                News::Record(record) => model.record(&record),
                News::Lost(count) => model.lost(count),
            }
        }
        model.lost(self.overrun.swap(0, std::sync::atomic::Ordering::Relaxed));
        let health = health(&ask(&self.socket, &Request::Status)?);
        let now = Instant::now();
        let since = self.last.replace(now).map(|last| now - last).unwrap_or_default();
        model.begin(since, health);
        self.names = names(&ask(&self.socket, &Request::Ips)?);
        let mut all = Vec::new();
        ask_lines(&self.socket, &Request::Conntrack { limit: CONNECTIONS }, |value| {
            all.push(connection(&value, &self.names));
            Ok(())
        })?;
        model.connections(all);
        Ok(())
    }
}

/// Hands every record over until the node service or the reader goes away.
fn follow(stream: UnixStream, sender: &SyncSender<News>, overrun: &std::sync::atomic::AtomicU64) {
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    while next_line(&mut input, &mut line).unwrap_or(false) {
        let Ok(answer) = serde_json::from_slice::<ResponseLine>(&line) else { continue };
        let lost = answer.lost_events.map(|lost| News::Lost(lost.num_events_lost));
        for news in answer.flow.map(News::Record).into_iter().chain(lost) {
            match sender.try_send(news) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    overrun.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn health(status: &Value) -> Health {
    let errors = status["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    Health {
        node: status["node"].as_str().unwrap_or_default().to_owned(),
        healthy: status["healthy"] == true,
        received: number(status, "/frames/received"),
        forwarded: number(status, "/frames/forwarded"),
        dropped: number(status, "/frames/dropped"),
        connections: number(status, "/connections/current"),
        occupancy: status.pointer("/load/occupancy").and_then(Value::as_f64).unwrap_or(0.0),
        shed: number(status, "/flowLog/shed"),
        errors: errors.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

fn names(ips: &Value) -> BTreeMap<String, String> {
    let list = ips.as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |item: &Value| {
        let name = item["name"].as_str().filter(|name| !name.is_empty())?;
        Some((
            item["ip"].as_str()?.trim_end_matches("/32").trim_end_matches("/128").to_owned(),
            name.to_owned(),
        ))
    };
    list.iter().filter_map(name).collect()
}

pub(super) fn connection(value: &Value, names: &BTreeMap<String, String>) -> Connection {
    let text = |key: &str| match &value[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let named = |address: String| names.get(&address).cloned().unwrap_or(address);
    let both = |key: &str| number(&value[key], "/0") + number(&value[key], "/1");
    let (from, to) = (text("source"), text("destination"));
    let (port, protocol) = (text("destinationPort"), text("protocol"));
    Connection {
        id: format!("{protocol} {from} {} {to} {port}", text("sourcePort")),
        flow: [named(from), named(to), format!("{port}/{protocol}")],
        packets: both("packets"),
        bytes: both("bytes"),
    }
}
