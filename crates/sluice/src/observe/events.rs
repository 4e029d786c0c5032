//! `sluice observe agent-events`: what the node service did, in the layouts of `hubble observe agent-events`.

use super::{DEFAULT_LAST, ObserveArgs};
use anyhow::{Context as _, Result, anyhow, bail};
use flowlog::api::{ObserveRequest, next_line};
use flowlog::format::{Layout, Options};
use flowlog::record::Time;
use hubble::agent::{Event, Line};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What stands between two events in `-o dict`.
const SEPARATOR: &str = "------------";

/// What stands for an event without a time.
const NO_TIME: &str = "N/A";

/// What to ask. Flags that are about flows are refused.
pub(super) fn request(args: &ObserveArgs, now: Timestamp) -> Result<ObserveRequest> {
    let filter = args.filter.typed().next().map(|(name, _)| name);
    let others = [
        ("allowlist", !args.allowlist.is_empty()),
        ("denylist", !args.denylist.is_empty()),
        ("input-file", args.input_file.is_some()),
        ("history", args.history.is_some()),
        ("field-mask", !args.field_mask.is_empty()),
        ("print-raw-filters", args.print_raw_filters),
    ];
    if let Some(flag) = filter.or_else(|| others.iter().find(|(_, given)| *given).map(|(name, _)| *name)) {
        bail!(
            "--{flag} is about flows; agent-events takes --last, --first, --all, --since, --until, --follow and -o"
        );
    }
    let mut request = args.request(now)?;
    // One who follows sees the newest first, unlike with flows; so does Hubble.
    if args.follow && request.last == Some(0) {
        request.last = Some(DEFAULT_LAST);
    }
    Ok(request)
}

/// Asks the node service and shows its answer.
pub(super) fn show(
    socket: &Path,
    request: ObserveRequest,
    options: &Options,
    out: &mut impl Write,
) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!("cannot reach the node service on {}; is `sluice run` running?", socket.display())
    })?;
    let mut line = serde_json::to_vec(&crate::api::request::Request::AgentEvents(request))?;
    line.push(b'\n');
    stream.write_all(&line).context("ask")?;
    answer(&mut BufReader::new(stream), options, out)
}

/// Shows an answer; whenever nothing more has come yet, what is shown is written.
fn answer<R: Read>(input: &mut BufReader<R>, options: &Options, out: &mut impl Write) -> Result<()> {
    let (mut line, mut rows, mut shown) = (Vec::new(), Vec::new(), 0_u64);
    while next_line(input, &mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            out.flush()?;
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let read: Line = serde_json::from_str(&text).context("read the answer")?;
        let Some(event) = &read.agent_event else {
            let refused: serde_json::Value = serde_json::from_str(&text).context("read the answer")?;
            bail!("{}", refused["error"].as_str().ok_or_else(|| anyhow!("an answer without an event"))?);
        };
        match options.layout {
            Layout::Json => writeln!(out, "{}", serde_json::to_string(&read)?)?,
            Layout::Compact => out.write_all(compact(&read, event, options).as_bytes())?,
            Layout::Dict => {
                if shown > 0 {
                    writeln!(out, "{SEPARATOR}")?;
                }
                out.write_all(dict(&read, event, options).as_bytes())?;
            }
            Layout::Table => rows.push(row(&read, event, options)),
        }
        shown += 1;
        if input.buffer().is_empty() {
            out.flush()?;
        }
    }
    if options.layout == Layout::Table {
        let node: &[&str] = if options.node_name { &["NODE"] } else { &[] };
        let head = [&["TIMESTAMP"], node, &["TYPE", "DETAILS"]].concat();
        out.write_all(crate::show::table(&head, rows).as_bytes())?;
    }
    Ok(out.flush()?)
}

fn compact(line: &Line, event: &Event, options: &Options) -> String {
    let node = if options.node_name { format!(" [{}]", clean(&line.node_name)) } else { String::new() };
    let time = time(line.time, options);
    format!("{time}{node}: {} ({})\n", clean(&event.kind), details(event, options))
}

fn dict(line: &Line, event: &Event, options: &Options) -> String {
    let mut text = String::new();
    let node = options.node_name.then(|| ("NODE", clean(&line.node_name)));
    let pairs = [
        Some(("TIMESTAMP", time(line.time, options))),
        node,
        Some(("TYPE", clean(&event.kind))),
        Some(("DETAILS", details(event, options))),
    ];
    for (key, value) in pairs.into_iter().flatten() {
        let _ = writeln!(text, "{key:>11}: {value}");
    }
    text
}

fn row(line: &Line, event: &Event, options: &Options) -> Vec<String> {
    let mut cells = vec![time(line.time, options)];
    cells.extend(options.node_name.then(|| clean(&line.node_name)));
    cells.extend([clean(&event.kind), details(event, options)]);
    cells
}

fn time(time: Option<Time>, options: &Options) -> String {
    let Some(time) = time else { return NO_TIME.to_owned() };
    let zoned = time.0.to_zoned(options.zone.clone());
    jiff::fmt::strtime::format(&options.time_format, &zoned).unwrap_or_else(|_| time.0.to_string())
}

/// What belongs to the kind of event, in Hubble's words.
fn details(event: &Event, options: &Options) -> String {
    let mut text = String::new();
    let _ = match event {
        Event { agent_start: Some(start), .. } => write!(text, "start time: {}", time(start.time, options)),
        Event { policy_update: Some(policy), .. } => {
            let labels = policy.labels.join(",");
            write!(text, "labels: [{labels}], revision: {}, count: {}", policy.revision, policy.rules)
        }
        Event { endpoint_update: Some(endpoint), .. } => {
            let named = [("namespace", &endpoint.namespace), ("pod name", &endpoint.pod)];
            let named = named.iter().filter(|(_, value)| !value.is_empty());
            let named: String = named.map(|(key, value)| format!(", {key}: {value}")).collect();
            write!(text, "id: {}{named}", endpoint.id)
        }
        Event { ipcache_update: Some(address), .. } => {
            let old = address.old_identity.map(|old| format!(", old identity: {old}")).unwrap_or_default();
            write!(text, "cidr: {}, identity: {}{old}, encrypt key: 0", address.cidr, address.identity)
        }
        _ => write!(text, "UNKNOWN"),
    };
    clean(&text)
}

/// Names come from files of others: control characters in them must not reach a terminal.
fn clean(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubble::agent::{Address, AgentEvent, Endpoint, Policy, Stamped};

    fn lines() -> String {
        let policy =
            Policy { labels: vec!["k8s:a=b".into(), "k8s:c=\u{1b}[2J".into()], revision: 7, rules: 2 };
        let endpoint =
            Endpoint { id: 12, namespace: "shop".into(), pod: "web".into(), ..Endpoint::default() };
        let learnt = Address { cidr: "192.0.2.1/32".into(), identity: 16_777_217, ..Address::default() };
        let moved = Address { old_identity: Some(2), ..learnt.clone() };
        let events = [
            AgentEvent::Started,
            AgentEvent::PolicyUpdated(policy),
            AgentEvent::EndpointCreated(endpoint),
            AgentEvent::AddressUpserted(moved),
            AgentEvent::AddressDeleted(learnt),
        ];
        let mut text = String::new();
        for event in events {
            let stamped = Stamped { time: Time::from_nanos(1_763_719_200_123_000_000), event };
            let line = serde_json::to_string(&stamped.to_line("n1")).expect("JSON");
            // Between two of them an empty line, as one who follows gets it.
            let _ = writeln!(text, "{line}\n");
        }
        text
    }

    fn shown(text: &str, options: &Options) -> Result<String> {
        let mut out = Vec::new();
        answer(&mut BufReader::new(text.as_bytes()), options, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    fn laid_out(layout: Layout, node_name: bool) -> String {
        shown(&lines(), &Options { layout, node_name, ..Options::default() }).expect("shown")
    }

    #[test]
    fn every_layout() {
        let compact = "\
Nov 21 10:00:00.123: AGENT_STARTED (start time: Nov 21 10:00:00.123)
Nov 21 10:00:00.123: POLICY_UPDATED (labels: [k8s:a=b,k8s:c=\u{fffd}[2J], revision: 7, count: 2)
Nov 21 10:00:00.123: ENDPOINT_CREATED (id: 12, namespace: shop, pod name: web)
Nov 21 10:00:00.123: IPCACHE_UPSERTED (cidr: 192.0.2.1/32, identity: 16777217, old identity: 2, encrypt key: 0)
Nov 21 10:00:00.123: IPCACHE_DELETED (cidr: 192.0.2.1/32, identity: 16777217, encrypt key: 0)
";
        assert_eq!(laid_out(Layout::Compact, false), compact);
        let named = compact.replace(".123: ", ".123 [n1]: ");
        assert_eq!(laid_out(Layout::Compact, true), named);
        let dict = laid_out(Layout::Dict, true);
        let first = "  TIMESTAMP: Nov 21 10:00:00.123\n       NODE: n1\n       TYPE: AGENT_STARTED\n    DETAILS: start time: Nov 21 10:00:00.123\n------------\n";
        assert!(dict.starts_with(first), "{dict}");
        assert_eq!(dict.matches(SEPARATOR).count(), 4);
        let without_ends = lines().replace("\n\n", "\n");
        assert_eq!(laid_out(Layout::Json, false), without_ends);
        let table = laid_out(Layout::Table, false);
        let heads: Vec<_> = table.lines().next().expect("a head").split_whitespace().collect();
        assert_eq!(heads, ["TIMESTAMP", "TYPE", "DETAILS"]);
        assert_eq!(table.lines().count(), 6, "{table}");
        assert!(laid_out(Layout::Table, true).contains("NODE"));
    }

    #[test]
    fn what_is_no_event_is_an_error_or_unknown() {
        let refused = shown("{\"error\":\"no\"}\n", &Options::default()).expect_err("refused");
        assert_eq!(refused.to_string(), "no");
        for odd in ["{}\n", "x\n", "[1]\n"] {
            assert!(shown(odd, &Options::default()).is_err(), "{odd}");
        }
        let newer = "{\"agent_event\":{\"type\":\"SERVICE_DELETED\",\"service_delete\":{\"id\":1}}}\n";
        assert_eq!(shown(newer, &Options::default()).expect("shown"), "N/A: SERVICE_DELETED (UNKNOWN)\n");
    }
}
