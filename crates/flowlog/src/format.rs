//! Records for eyes: Hubble's compact, table, dict and JSON layouts.

mod compact;
mod dict;
mod json;
mod parts;
mod table;

use crate::record::Record;
use std::io::{self, Write};

/// Which layout.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// One line a record.
    #[default]
    Compact,
    /// Keys and values, one a line.
    Dict,
    /// One JSON object a line.
    Json,
    /// Aligned columns under a header; written at the end.
    Table,
}

/// What to show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Layout.
    pub layout: Layout,
    /// `strftime` format of times.
    pub time_format: String,
    /// Zone of the times.
    pub zone: jiff::tz::TimeZone,
    /// Name the deciding rule on every record (refused ones always name it).
    pub policy_names: bool,
    /// Name the node.
    pub node_name: bool,
    /// Addresses and identity numbers instead of names.
    pub numeric: bool,
    /// Colours (compact and dict only).
    pub color: bool,
}

/// Hubble's default: month, day, milliseconds.
pub const DEFAULT_TIME_FORMAT: &str = "%b %e %H:%M:%S%.3f";

impl Default for Options {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            time_format: DEFAULT_TIME_FORMAT.to_owned(),
            zone: jiff::tz::TimeZone::UTC,
            policy_names: false,
            node_name: false,
            numeric: false,
            color: false,
        }
    }
}

/// Writes records in one layout.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    options: Options,
    printed: u64,
    headed: bool,
    rows: Vec<Vec<String>>,
}

impl<W: Write> Printer<W> {
    /// A printer on `out`.
    pub fn new(out: W, options: Options) -> Self {
        Self { out, options, printed: 0, headed: false, rows: Vec::new() }
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        match self.options.layout {
            Layout::Compact => writeln!(self.out, "{}", compact::line(record, &self.options))?,
            Layout::Dict => dict::write(&mut self.out, record, &self.options, self.printed == 0)?,
            Layout::Json => json::write(&mut self.out, record)?,
            Layout::Table => {
                self.rows.push(table::row(record, &self.options));
                // Bounds memory when following: a block of rows is aligned on its own.
                if self.rows.len() >= table::BLOCK {
                    self.flush()?;
                }
            }
        }
        self.printed += 1;
        Ok(())
    }

    /// Writes what is held back and flushes the writer.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            let header = (!self.headed).then(|| table::header(&self.options));
            self.headed = true;
            table::write(&mut self.out, rows, header)?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;
