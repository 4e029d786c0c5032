//! The text in which metrics are handed out: Prometheus' own format, or OpenMetrics.
//!
//! The two differ in little: OpenMetrics introduces a counter without its `_total`, writes bounds as floating-point
//! numbers, has exemplars, and ends with `# EOF`. Whoever writes a [`Page`] need not know which of them it is.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// Which of the two.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The media type of a page.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that the value of an `Accept` header asks for: OpenMetrics where it is named with a weight that no
    /// plain text exceeds (RFC 9110 §12.5.1).
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut weight, mut known) = (1.0_f32, true);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => weight = value.trim().parse().unwrap_or(0.0),
                    "version" if kind.ends_with("openmetrics-text") => {
                        known = matches!(value.trim().trim_matches('"'), "1.0.0" | "0.0.1");
                    }
                    _ => {}
                }
            }
            match kind.as_str() {
                "application/openmetrics-text" if known => open = open.max(weight),
                "text/plain" | "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }
}

/// What a metric counts.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations by size.
    Histogram,
}

/// A trace that an observation belongs to.
#[derive(Clone, PartialEq, Debug)]
pub struct Exemplar {
    /// Trace id, as in `traceparent`.
    pub trace_id: Arc<str>,
    /// What was observed.
    pub value: f64,
    /// When, in seconds since 1970.
    pub at: f64,
}

/// A page under construction.
#[derive(Clone, Debug, Default)]
pub struct Page {
    out: String,
    format: Format,
    name: String,
}

impl Page {
    /// An empty one.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, ..Self::default() }
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Introduces a metric; what follows are its values. `name` has the `_total` of a counter.
    pub fn head(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.name);
        let shown = match (kind, self.format) {
            (Kind::Counter, Format::OpenMetrics) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "# HELP {shown} {help}\n# TYPE {shown} {kind}");
    }

    /// One value of the metric introduced last.
    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("", labels, None, value, None);
    }

    /// The same with an exemplar, which plain text leaves out.
    pub fn exemplified(&mut self, labels: &[(&str, &str)], value: impl Display, exemplar: Option<&Exemplar>) {
        self.sample("", labels, None, value, exemplar);
    }

    /// A metric with one value.
    pub fn one(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(&[], value);
    }

    /// A histogram of the metric introduced last: upper bounds with the observations up to each of them (and an
    /// exemplar), all observations, and their sum.
    pub fn histogram<'a>(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl IntoIterator<Item = (f64, u64, Option<&'a Exemplar>)>,
        (count, beyond): (u64, Option<&'a Exemplar>),
        sum: f64,
    ) {
        for (bound, upto, exemplar) in buckets {
            let bound = match self.format {
                Format::Text => bound.to_string(),
                // Canonical floating-point numbers have a point.
                Format::OpenMetrics => format!("{bound:?}"),
            };
            self.sample("_bucket", labels, Some(&bound), upto, exemplar);
        }
        self.sample("_bucket", labels, Some("+Inf"), count, beyond);
        self.sample("_sum", labels, None, sum, None);
        self.sample("_count", labels, None, count, None);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<&str>,
        value: impl Display,
        exemplar: Option<&Exemplar>,
    ) {
        let Self { out, name, format } = self;
        out.push_str(name);
        out.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut between = '{';
        for (label, text) in labels.iter().copied().chain(bound) {
            let _ = write!(out, "{between}{label}=\"");
            between = ',';
            escape(out, text);
            out.push('"');
        }
        if between == ',' {
            out.push('}');
        }
        let _ = write!(out, " {value}");
        if let (Some(Exemplar { trace_id, value, at }), Format::OpenMetrics) = (exemplar, format) {
            out.push_str(" # {traceID=\"");
            escape(out, trace_id);
            let _ = write!(out, "\"}} {value} {at:.3}");
        }
        out.push('\n');
    }

    /// The text.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Label values may hold anything; three characters are written otherwise.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        let exemplar = Exemplar { trace_id: "0af7".into(), value: 0.25, at: 1_763_719_200.5 };
        page.head("a_total", Kind::Counter, "Things.");
        page.exemplified(&[("x", "a\"b\\c\nd"), ("y", "")], 3, Some(&exemplar));
        page.one("b", Kind::Gauge, "Share.", 0.5);
        page.head("c_seconds", Kind::Histogram, "Time.");
        page.histogram(&[("m", "GET")], [(0.5, 1, Some(&exemplar)), (1.0, 2, None)], (3, None), 7.25);
        page.finish()
    }

    #[test]
    fn both_formats() {
        let text = "\
# HELP a_total Things.
# TYPE a_total counter
a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 3
# HELP b Share.
# TYPE b gauge
b 0.5
# HELP c_seconds Time.
# TYPE c_seconds histogram
c_seconds_bucket{m=\"GET\",le=\"0.5\"} 1
c_seconds_bucket{m=\"GET\",le=\"1\"} 2
c_seconds_bucket{m=\"GET\",le=\"+Inf\"} 3
c_seconds_sum{m=\"GET\"} 7.25
c_seconds_count{m=\"GET\"} 3
";
        assert_eq!(page(Format::Text), text);
        let open = text
            .replace("# HELP a_total", "# HELP a")
            .replace("# TYPE a_total", "# TYPE a")
            .replace(",y=\"\"} 3\n", ",y=\"\"} 3 # {traceID=\"0af7\"} 0.25 1763719200.500\n")
            .replace("le=\"0.5\"} 1\n", "le=\"0.5\"} 1 # {traceID=\"0af7\"} 0.25 1763719200.500\n")
            .replace("le=\"1\"", "le=\"1.0\"");
        assert_eq!(page(Format::OpenMetrics), open + "# EOF\n");
    }

    #[test]
    fn the_reader_says_which() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0;q=0.9,text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("APPLICATION/OpenMetrics-Text", Format::OpenMetrics),
            ("text/html;q=nonsense,;;,=", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
