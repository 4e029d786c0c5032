//! What the node service did: agent events, one a line, for one client.

use super::{error_value, write_line};
use crate::run::shared::Shared;
use anyhow::Result;
use flowlog::api::ObserveRequest;
use hubble::agent::Stamped;
use hubble::{AgentLog, Range};
use std::io::Write;
use std::ops::ControlFlow;

/// Answers one request, following as long as the client wants.
///
/// # Errors
/// When the client goes away.
pub fn serve(shared: &Shared, request: &ObserveRequest, out: &mut impl Write) -> Result<()> {
    show(&shared.events.log(), &shared.node.name, request, out)
}

fn show(log: &AgentLog, node: &str, request: &ObserveRequest, out: &mut impl Write) -> Result<()> {
    if !request.filters.is_empty() {
        return write_line(out, &error_value("agent events have no filters: those are about flows"));
    }
    let ObserveRequest { last, first, since, until, follow, .. } = *request;
    if first.is_some() && (last.is_some() || follow) {
        return write_line(
            out,
            &error_value("the oldest events go with neither the newest nor those that come"),
        );
    }
    // All that there are and those that come: no number says that.
    let number = first.or(last).unwrap_or(if follow { u64::MAX } else { 0 });
    if number == 0 && (first.is_some() || last.is_some()) && !follow {
        return Ok(());
    }
    let range = Range::between((number, first.is_some(), follow), since, until);
    let mut outcome = Ok(());
    log.show(&range, |events| {
        outcome = write(events, node, out);
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    outcome
}

/// An empty line is no event; it fails when the client has gone.
fn write(events: &[Stamped], node: &str, out: &mut impl Write) -> Result<()> {
    for stamped in events {
        write_line(out, &serde_json::to_value(stamped.to_line(node))?)?;
    }
    if events.is_empty() {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubble::AgentEvent;
    use hubble::agent::{Line, Policy};

    fn asked(request: &ObserveRequest) -> Vec<u64> {
        let log = AgentLog::default();
        log.extend((0..5).map(|rules| AgentEvent::PolicyUpdated(Policy { rules, ..Policy::default() })));
        let mut out = Vec::new();
        show(&log, "n1", request, &mut out).expect("memory");
        let text = String::from_utf8(out).expect("text");
        let lines = text.lines().filter(|line| !line.is_empty());
        let line = |line: &str| {
            let line: Line = serde_json::from_str(line).expect("a line");
            assert_eq!((line.node_name.as_str(), line.time.is_some()), ("n1", true));
            line.agent_event.expect("an event").policy_update.expect("a policy").rules
        };
        lines.map(line).collect()
    }

    #[test]
    fn counts_and_times_select() {
        let all = ObserveRequest::default();
        assert_eq!(asked(&all), [0, 1, 2, 3, 4]);
        assert_eq!(asked(&ObserveRequest { last: Some(2), ..all.clone() }), [3, 4]);
        assert_eq!(asked(&ObserveRequest { first: Some(2), ..all.clone() }), [0, 1]);
        assert_eq!(asked(&ObserveRequest { last: Some(0), ..all.clone() }), [0_u64; 0]);
        let long_ago = Some(flowlog::record::Time::from_nanos(0));
        assert_eq!(asked(&ObserveRequest { since: long_ago, ..all.clone() }), [0, 1, 2, 3, 4]);
        assert_eq!(asked(&ObserveRequest { until: long_ago, follow: true, ..all }), [0_u64; 0]);
    }

    #[test]
    fn what_is_about_flows_is_refused() {
        let mut request = ObserveRequest::default();
        request.filters.allowlist.push(flowlog::FlowFilter::default());
        for (request, word) in [
            (request, "filters"),
            (ObserveRequest { first: Some(1), follow: true, ..ObserveRequest::default() }, "oldest"),
        ] {
            let mut out = Vec::new();
            show(&AgentLog::default(), "n1", &request, &mut out).expect("memory");
            let text = String::from_utf8(out).expect("text");
            assert!(text.starts_with("{\"error\":") && text.contains(word), "{text}");
        }
    }
}
