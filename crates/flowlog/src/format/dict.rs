//! Keys, aligned right, and values; a dashed line between records.

use super::{Options, parts};
use crate::record::Record;
use std::io::{self, Write};

pub(super) fn write(out: &mut dyn Write, r: &Record, o: &Options, first: bool) -> io::Result<()> {
    if !first {
        writeln!(out, "------------")?;
    }
    let mut lines = vec![("TIMESTAMP", parts::time(r, o))];
    if o.node_name {
        lines.push(("NODE", r.node_name.clone()));
    }
    lines.push(("SOURCE", parts::peer(r, true, o)));
    lines.push(("DESTINATION", parts::peer(r, false, o)));
    lines.push(("TYPE", parts::kind(r)));
    lines.push(("VERDICT", parts::verdict(r, o)));
    lines.push(("SUMMARY", parts::summary(r)));
    if let Some(rule) = parts::rule(r, o) {
        lines.push(("RULE", rule));
    }
    lines.iter().try_for_each(|(key, value)| writeln!(out, "{key:>11}: {value}"))
}
