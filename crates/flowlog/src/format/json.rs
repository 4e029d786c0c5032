//! One JSON object a line, as Hubble's `-o json` and its exporter write it.

use super::Options;
use crate::record::{Record, Time};
use serde::Serialize;
use std::io::{self, Write};

/// The envelope.
#[derive(Serialize)]
struct Line<'a, F> {
    flow: F,
    #[serde(skip_serializing_if = "str::is_empty")]
    node_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
}

pub(super) fn write(out: &mut dyn Write, record: &Record, o: &Options) -> io::Result<()> {
    let Record { node_name, time, .. } = record;
    let time = *time;
    if o.mask.is_empty() {
        serde_json::to_writer(&mut *out, &Line { flow: record, node_name, time })?;
    } else {
        serde_json::to_writer(&mut *out, &Line { flow: o.mask.apply(record), node_name, time })?;
    }
    out.write_all(b"\n")
}
