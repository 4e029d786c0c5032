//! `exporters.yaml`: text → checked settings, or the line, the column and what to write instead.
//!
//! The entries of `flowLogs` are those of Cilium's dynamic exporter, so that a file written for it is read as it is;
//! `syslog` and `redact` are ours.

mod error;
#[cfg(test)]
mod tests;
mod value;

pub use error::ConfigError;
pub use value::{Address, FieldMask, FilterList, Name, Target};

use serde::{Deserialize, Serialize};

/// Name of the file in the configuration folder.
pub const FILE: &str = "exporters.yaml";

/// Exporters at most: each is a thread and a reader of the flow log.
pub const MAX_EXPORTERS: usize = 32;

/// All of the file.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ExportConfig {
    /// What every exporter hides that has no `redact` of its own.
    pub redact: Redact,
    /// The exporters.
    pub flow_logs: Vec<FlowLog>,
}

/// One exporter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FlowLog {
    /// Names it in metrics and messages.
    pub name: Name,
    /// An absolute path, or `stdout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_path: Option<Target>,
    /// A syslog receiver, instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syslog: Option<Syslog>,
    /// Fields of the flow to write; empty: all of them.
    #[serde(default, skip_serializing_if = "FieldMask::is_empty")]
    pub field_mask: FieldMask,
    /// Only records that match one of these; empty: all.
    #[serde(default, skip_serializing_if = "FilterList::is_empty")]
    pub include_filters: FilterList,
    /// No records that match one of these.
    #[serde(default, skip_serializing_if = "FilterList::is_empty")]
    pub exclude_filters: FilterList,
    /// Size in MB at which a file is rotated.
    #[serde(default = "default_size")]
    pub file_max_size_mb: u32,
    /// Rotated files that are kept.
    #[serde(default = "default_backups")]
    pub file_max_backups: u32,
    /// Whether rotated files are compressed.
    #[serde(default)]
    pub file_compress: bool,
    /// When it stops by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<value::End>,
    /// What it hides, in place of the file's `redact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<Redact>,
}

const fn default_size() -> u32 {
    10
}

const fn default_backups() -> u32 {
    5
}

/// A syslog receiver.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Syslog {
    /// `unix:///dev/log`, `udp://host:514` or `tcp://host:601`.
    pub address: Address,
    /// Facility of the messages.
    #[serde(default)]
    pub facility: Facility,
}

/// Facilities that are for local use (RFC 5424 §6.2.1), and that of daemons.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are syslog's")]
pub enum Facility {
    Daemon,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// What is hidden.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Redact {
    /// Whether anything is.
    pub enabled: bool,
    /// In HTTP messages.
    pub http: RedactHttp,
    /// In Kafka messages.
    pub kafka: RedactKafka,
}

/// What is hidden in HTTP messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RedactHttp {
    /// The query of a URL.
    pub url_query: bool,
    /// User and password in a URL.
    pub user_info: bool,
    /// Values of header fields.
    pub headers: RedactHeaders,
}

impl Default for RedactHttp {
    fn default() -> Self {
        Self { url_query: false, user_info: true, headers: RedactHeaders::default() }
    }
}

/// Whose values are hidden: those not on the one list, or those on the other.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RedactHeaders {
    /// All but these, unless empty.
    pub allow: Vec<String>,
    /// These.
    pub deny: Vec<String>,
}

/// What is hidden in Kafka messages.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RedactKafka {
    /// The kind of request.
    pub api_key: bool,
}

impl ExportConfig {
    /// Reads the text of a file. Nothing but comments means no exporters.
    ///
    /// # Errors
    ///
    /// Text that is no YAML, unknown keys, values that mean nothing, names or files used twice.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        // A document of comments only is `null`.
        let config: Option<Self> = serde_yaml::from_str(text).map_err(|error| ConfigError::yaml(&error))?;
        let config = config.unwrap_or_default();
        config.check(text)?;
        Ok(config)
    }

    /// What types alone do not say.
    fn check(&self, text: &str) -> Result<(), ConfigError> {
        if self.flow_logs.len() > MAX_EXPORTERS {
            let message = format!("more than {MAX_EXPORTERS} exporters; leave some out");
            return Err(ConfigError::near(text, "flowLogs", 0, message));
        }
        check_headers(&self.redact, text)?;
        for (at, log) in self.flow_logs.iter().enumerate() {
            let earlier = &self.flow_logs[..at];
            let fail = |key, message| Err(ConfigError::near(text, key, at, message));
            if earlier.iter().any(|other| other.name == log.name) {
                return fail("name", format!("a second exporter named `{}`; give it another name", log.name));
            }
            match (&log.file_path, &log.syslog) {
                (None, None) => {
                    return fail(
                        "name",
                        "no target: write `filePath: /path`, `filePath: stdout` or `syslog: {address: …}`"
                            .into(),
                    );
                }
                (Some(_), Some(_)) => {
                    return fail("syslog", "`filePath` and `syslog` in one exporter; make two of it".into());
                }
                _ => {}
            }
            if let Some(path) = &log.file_path
                && earlier.iter().any(|other| other.file_path.as_ref() == Some(path))
            {
                return fail(
                    "filePath",
                    format!("`{path}` is written by another exporter; take another file"),
                );
            }
            if !(1..=100_000).contains(&log.file_max_size_mb) {
                return fail("fileMaxSizeMb", "must be from 1 to 100000".into());
            }
            if !(1..=1000).contains(&log.file_max_backups) {
                return fail("fileMaxBackups", "must be from 1 to 1000".into());
            }
            check_headers(log.redact.as_ref().unwrap_or(&self.redact), text)?;
        }
        Ok(())
    }
}

fn check_headers(redact: &Redact, text: &str) -> Result<(), ConfigError> {
    let headers = &redact.http.headers;
    if headers.allow.is_empty() || headers.deny.is_empty() {
        return Ok(());
    }
    let message = "`allow` and `deny` together contradict each other; write one of them";
    Err(ConfigError::near(text, "headers", 0, message.into()))
}
