//! One record, one line: `{"flow":{…},"node_name":"…","time":"…"}`, as `sluice observe -o json` prints it and
//! `sluice observe --input-file` reads it.

use super::config::{ExportConfig, FlowLog};
use super::redact::Redactor;
use flowlog::filter::CompiledFilters;
use flowlog::mask::FieldMask;
use flowlog::record::Time;
use flowlog::{Filters, Record};
use serde::Serialize;

/// Whole lines, back to back, each with its newline.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
    /// Lines that have reached their target.
    done: usize,
}

impl Lines {
    /// Lines that have not reached their target.
    #[must_use]
    pub fn left(&self) -> usize {
        self.ends.len() - self.done
    }

    /// Start of the first line that is left.
    #[must_use]
    pub fn start(&self) -> usize {
        self.done.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }

    /// Bytes of the lines that are left.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.start()..).unwrap_or_default()
    }

    /// The first line that is left, without its newline.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        let end = *self.ends.get(self.done)?;
        self.bytes.get(self.start()..end.saturating_sub(1))
    }

    /// How many bytes of the lines that are left are whole lines, where no more than `max` are wanted.
    #[must_use]
    pub fn whole(&self, max: usize) -> usize {
        let start = self.start();
        let left = self.ends.get(self.done..).unwrap_or_default();
        let fit = left.partition_point(|end| end - start <= max);
        fit.checked_sub(1).and_then(|last| left.get(last)).map_or(0, |end| end - start)
    }

    /// Takes off lines of so many bytes together; what is no whole line stays.
    pub fn advance(&mut self, bytes: usize) {
        let start = self.start();
        let left = self.ends.get(self.done..).unwrap_or_default();
        self.done += left.partition_point(|end| end - start <= bytes);
    }

    /// Takes off the first line.
    pub fn skip(&mut self) {
        self.done = (self.done + 1).min(self.ends.len());
    }

    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.done = 0;
    }

    fn add(&mut self, line: &impl Serialize) {
        let start = self.bytes.len();
        // Memory does not fail and every key is a string; if it did, half a line would be worse than none.
        match serde_json::to_writer(&mut self.bytes, line) {
            Ok(()) => {
                self.bytes.push(b'\n');
                self.ends.push(self.bytes.len());
            }
            Err(_) => self.bytes.truncate(start),
        }
    }
}

#[cfg(test)]
impl Lines {
    /// Lines of these texts.
    pub(super) fn of(texts: &[&str]) -> Self {
        let mut lines = Self::default();
        texts.iter().for_each(|text| lines.add(text));
        lines
    }
}

/// What stands in a line.
#[derive(Serialize)]
struct Envelope<'a, F: Serialize> {
    flow: F,
    #[serde(skip_serializing_if = "str::is_empty")]
    node_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
}

/// Why no lines can be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A filter.
    #[error(transparent)]
    Filter(#[from] flowlog::filter::FilterError),
    /// A mask.
    #[error(transparent)]
    Mask(#[from] flowlog::mask::MaskError),
}

/// Makes lines of records: filters, redaction, field mask.
#[derive(Clone, Debug)]
pub struct Render {
    filters: CompiledFilters,
    redact: Option<Redactor>,
    mask: FieldMask,
}

impl Render {
    /// As one exporter of a file is configured.
    ///
    /// # Errors
    ///
    /// A filter or a mask that cannot be read; the file was not checked then.
    pub fn new(config: &ExportConfig, log: &FlowLog) -> Result<Self, RenderError> {
        let filters =
            Filters { allowlist: log.include_filters.0.clone(), denylist: log.exclude_filters.0.clone() };
        Ok(Self {
            filters: filters.compile()?,
            redact: Redactor::new(log.redact.as_ref().unwrap_or(&config.redact)),
            mask: log.field_mask.compile()?,
        })
    }

    /// Adds the record's line, unless filters leave it out.
    pub fn add(&self, record: &Record, lines: &mut Lines) {
        if !self.filters.matches(record) {
            return;
        }
        let (node_name, time) = (record.node_name.as_str(), record.time);
        let seen = self.redact.as_ref().map(|redact| redact.apply(record));
        let flow = seen.as_deref().unwrap_or(record);
        if self.mask.is_empty() {
            lines.add(&Envelope { flow, node_name, time });
        } else {
            lines.add(&Envelope { flow: self.mask.apply(flow), node_name, time });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_off_whole() {
        let mut lines = Lines::of(&["a", "bb", "ccc"]);
        assert_eq!((lines.left(), lines.rest().len()), (3, 4 + 5 + 6));
        assert_eq!([3, 4, 8, 9, 14, 15, 99].map(|max| lines.whole(max)), [0, 4, 4, 9, 9, 15, 15]);
        lines.advance(8);
        assert_eq!((lines.left(), lines.first()), (2, Some(&b"\"bb\""[..])));
        lines.advance(4);
        assert_eq!(lines.left(), 2, "half a line is none");
        lines.skip();
        assert_eq!((lines.left(), lines.rest()), (1, &b"\"ccc\"\n"[..]));
        lines.skip();
        lines.skip();
        assert_eq!((lines.left(), lines.rest().len(), lines.first()), (0, 0, None));
    }

    #[test]
    fn a_line_is_what_observe_reads() {
        let record = Record {
            uuid: "u".into(),
            node_name: "node-1".into(),
            time: Some(Time::from_nanos(1_000_000_001)),
            ..Record::default()
        };
        let line = |mask: &str| {
            let text = format!("flowLogs: [{{name: a, filePath: /a, fieldMask: [{mask}]}}]");
            let config = ExportConfig::parse(&text).expect("valid");
            let render = Render::new(&config, &config.flow_logs[0]).expect("valid");
            let mut lines = Lines::default();
            render.add(&record, &mut lines);
            String::from_utf8(lines.rest().to_vec()).expect("UTF-8")
        };
        let envelope = "\"node_name\":\"node-1\",\"time\":\"1970-01-01T00:00:01.000000001Z\"}\n";
        assert_eq!(line("uuid, source.pod_name"), format!("{{\"flow\":{{\"uuid\":\"u\"}},{envelope}"));
        let text = &line("");
        assert_eq!(
            text,
            "{\"flow\":{\"time\":\"1970-01-01T00:00:01.000000001Z\",\"uuid\":\"u\",\"node_name\":\"node-1\"},\
             \"node_name\":\"node-1\",\"time\":\"1970-01-01T00:00:01.000000001Z\"}\n"
        );
        let read: flowlog::api::ResponseLine = serde_json::from_str(text).expect("a line");
        assert_eq!(read.flow.as_deref(), Some(&record));
    }
}
