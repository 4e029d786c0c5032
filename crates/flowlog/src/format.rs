//! Records for eyes: Hubble's compact, table, dict and JSON layouts.

mod compact;
mod dict;
mod json;
mod parts;
mod table;
mod time;

use crate::mask::FieldMask;
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
    /// Names of pods, services and hosts instead of addresses.
    pub ip_translation: bool,
    /// Fields to write (JSON only); an empty mask writes all.
    pub mask: FieldMask,
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
            ip_translation: true,
            mask: FieldMask::default(),
            color: false,
        }
    }
}

/// Writes records in one layout.
#[derive(Debug)]
pub struct Printer<W> {
    out: W,
    options: Options,
    times: time::Times,
    /// Where lines are put together.
    line: String,
    printed: u64,
    headed: bool,
    rows: Vec<Vec<String>>,
}

impl<W: Write> Printer<W> {
    /// A printer on `out`.
    pub fn new(out: W, options: Options) -> Self {
        let times = time::Times::new(&options.time_format, options.zone.clone());
        Self { out, options, times, line: String::new(), printed: 0, headed: false, rows: Vec::new() }
    }

    /// Writes one record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn record(&mut self, record: &Record) -> io::Result<()> {
        self.line.clear();
        if self.options.layout != Layout::Json {
            self.times.push(record.time, &mut self.line);
        }
        match self.options.layout {
            Layout::Compact => {
                compact::line(record, &self.options, &mut self.line);
                self.line.push('\n');
                self.out.write_all(self.line.as_bytes())?;
            }
            Layout::Dict => {
                let time = std::mem::take(&mut self.line);
                dict::lines(record, &time, &self.options, self.printed == 0, &mut self.line);
                self.out.write_all(self.line.as_bytes())?;
            }
            Layout::Json => json::write(&mut self.out, record, &self.options)?,
            Layout::Table => {
                let time = std::mem::take(&mut self.line);
                self.rows.push(table::row(record, time, &self.options));
                // Bounds memory: a block of rows is aligned on its own.
                if self.rows.len() >= table::BLOCK {
                    self.flush()?;
                }
            }
        }
        self.printed += 1;
        Ok(())
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.options.layout
    }

    /// Whether a line of [`api`](crate::api) is written as it came in: JSON, all of it.
    #[must_use]
    pub fn takes_lines(&self) -> bool {
        self.options.layout == Layout::Json && self.options.mask.is_empty()
    }

    /// Writes a line of the API as it is; only where [`takes_lines`](Self::takes_lines), and for what is no record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.out.write_all(line)?;
        self.out.write_all(b"\n")
    }

    /// The writer; what is held back is lost.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.out
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
mod golden;
#[cfg(test)]
mod tests;
