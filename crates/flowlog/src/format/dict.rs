//! Keys, aligned right, and values; a dashed line between records.

use super::{Options, parts};
use crate::record::Record;

/// Adds the lines of a record to `out`.
pub(super) fn lines(r: &Record, time: &str, o: &Options, first: bool, out: &mut String) {
    if !first {
        out.push_str("------------\n");
    }
    let mut line = |key: &str, value: &dyn Fn(&mut String)| {
        out.extend(std::iter::repeat_n(' ', WIDTH.saturating_sub(key.len())));
        out.push_str(key);
        out.push_str(": ");
        value(out);
        out.push('\n');
    };
    line("TIMESTAMP", &|out| out.push_str(time));
    if o.node_name {
        line("NODE", &|out| parts::clean(&r.node_name, out));
    }
    line("SOURCE", &|out| parts::peer(r, true, o, out));
    line("DESTINATION", &|out| parts::peer(r, false, o, out));
    line("TYPE", &|out| parts::kind(r, out));
    line("VERDICT", &|out| parts::verdict(r, o, out));
    line("SUMMARY", &|out| parts::clean(&r.summary, out));
    if parts::has_rule(r, o) {
        line("RULE", &|out| parts::rule(r, o, "", out));
    }
}

/// The longest key.
const WIDTH: usize = "DESTINATION".len();
