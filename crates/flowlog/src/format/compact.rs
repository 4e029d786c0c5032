//! `TIME [NODE]: SRC (ID) -> DST (ID) TYPE VERDICT (SUMMARY)`, then the rule.

use super::{Options, parts};
use crate::record::Record;

pub(super) fn line(r: &Record, o: &Options) -> String {
    let end = |source: bool| {
        let identity = parts::identity(if source { r.source.as_ref() } else { r.destination.as_ref() }, o);
        format!("{} {}", parts::paint(&parts::peer(r, source, o), "36", o), parts::paint(&identity, "35", o))
    };
    // The client stays on the left: a reply is shown with its ends swapped.
    let (left, arrow, right) = match r.is_reply {
        None => (end(true), "<>", end(false)),
        Some(false) => (end(true), "->", end(false)),
        Some(true) => (end(false), "<-", end(true)),
    };
    let node = if o.node_name { format!(" [{}]", r.node_name) } else { String::new() };
    let rule = parts::rule(r, o).map_or_else(String::new, |rule| format!(" {rule}"));
    format!(
        "{}{node}: {left} {arrow} {right} {} {} ({}){rule}",
        parts::time(r, o),
        parts::kind(r),
        parts::verdict(r, o),
        parts::summary(r),
    )
}
