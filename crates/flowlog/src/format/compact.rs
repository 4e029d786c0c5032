//! `TIME [NODE]: SRC (ID) -> DST (ID) TYPE VERDICT (SUMMARY)`, then the rule.

use super::{Options, parts};
use crate::record::Record;

/// Adds the line to `out`, which has the time already.
pub(super) fn line(r: &Record, o: &Options, out: &mut String) {
    if o.node_name {
        out.push_str(" [");
        parts::clean(&r.node_name, out);
        out.push(']');
    }
    out.push_str(": ");
    // The client stays on the left: a reply is shown with its ends swapped.
    let (left, arrow) = match r.is_reply {
        None => (true, " <> "),
        Some(false) => (true, " -> "),
        Some(true) => (false, " <- "),
    };
    end(r, left, o, out);
    out.push_str(arrow);
    end(r, !left, o, out);
    out.push(' ');
    parts::kind(r, out);
    out.push(' ');
    parts::verdict(r, o, out);
    out.push_str(" (");
    parts::clean(&r.summary, out);
    out.push(')');
    parts::rule(r, o, " ", out);
}

fn end(r: &Record, source: bool, o: &Options, out: &mut String) {
    parts::painted("36", o, out, |out| parts::peer(r, source, o, out));
    out.push(' ');
    let identity = if source { r.source.as_ref() } else { r.destination.as_ref() };
    parts::painted("35", o, out, |out| parts::identity(identity, o, out));
}
