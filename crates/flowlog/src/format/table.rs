//! Columns three spaces apart, as wide as their widest cell.

use super::{Options, parts};
use crate::record::Record;
use std::io::{self, Write};

/// Rows aligned together.
pub(super) const BLOCK: usize = 4096;

pub(super) fn header(o: &Options) -> Vec<String> {
    let mut columns = vec!["TIMESTAMP"];
    if o.node_name {
        columns.push("NODE");
    }
    columns.extend(["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]);
    columns.into_iter().map(str::to_owned).collect()
}

pub(super) fn row(r: &Record, time: String, o: &Options) -> Vec<String> {
    let cell = |write: &dyn Fn(&mut String)| {
        let mut text = String::new();
        write(&mut text);
        text
    };
    let mut cells = vec![time];
    if o.node_name {
        cells.push(cell(&|out| parts::clean(&r.node_name, out)));
    }
    cells.extend([
        cell(&|out| parts::peer(r, true, o, out)),
        cell(&|out| parts::peer(r, false, o, out)),
        cell(&|out| parts::kind(r, out)),
        cell(&|out| parts::plain_verdict(r, o, out)),
        cell(&|out| {
            parts::clean(&r.summary, out);
            parts::rule(r, o, " ", out);
        }),
    ]);
    cells
}

pub(super) fn write(
    out: &mut dyn Write,
    rows: Vec<Vec<String>>,
    header: Option<Vec<String>>,
) -> io::Result<()> {
    let rows: Vec<_> = header.into_iter().chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &rows {
        let last = row.len().saturating_sub(1);
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = if i == last { 0 } else { width + 3 };
            write!(out, "{cell:<width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
