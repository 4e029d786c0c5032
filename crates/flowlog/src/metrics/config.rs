//! Which metrics are made of flows: Cilium's list of plugins with their options, in both of its notations.
//!
//! ```text
//!   static    drop:sourceContext=pod;destinationContext=pod|reserved-identity
//!   dynamic   {name: drop, contextOptions: [{name: sourceContext, values: [pod]}, …]}
//! ```

use super::words::{ContextOptions, OPTIONS};
use serde::Deserialize;

/// Plugins and the options that each has besides contexts.
const PLUGINS: [(&str, &[&str]); 12] = [
    ("dns", &["query", "ignoreAAAA"]),
    ("drop", &[]),
    ("flow", &[]),
    ("flows-to-world", &["any-drop", "port", "syn-only"]),
    ("http", &[]),
    ("httpV2", &["exemplars"]),
    ("icmp", &[]),
    ("kafka", &[]),
    ("policy", &[]),
    ("port-distribution", &[]),
    ("sctp", &[]),
    ("tcp", &[]),
];

/// Plugins that are on where nothing else is said: every one, HTTP in its newer form.
pub const DEFAULT: [&str; 11] = [
    "dns",
    "drop",
    "flow",
    "flows-to-world",
    "httpV2:exemplars=true",
    "icmp",
    "kafka",
    "policy",
    "port-distribution",
    "sctp",
    "tcp",
];

/// Why a list of metrics is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such plugin.
    #[error("unknown metric `{name}`{}", hint(name, known))]
    UnknownMetric {
        /// As written.
        name: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
    /// A plugin is listed twice.
    #[error("metric `{0}` is listed twice; write all its options behind one of them")]
    Twice(&'static str),
    /// Both forms of the HTTP metrics.
    #[error("`http` and `httpV2` make metrics of the same names; leave one of them out")]
    BothHttp,
    /// There is no such option.
    #[error("metric `{metric}`: unknown option `{option}`{}", hint(option, known))]
    UnknownOption {
        /// The plugin.
        metric: &'static str,
        /// As written.
        option: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
    /// An option has a value that it cannot have.
    #[error("metric `{metric}`: option `{option}`: {what}{}", hint(within(what), known))]
    WrongValue {
        /// The plugin.
        metric: &'static str,
        /// The option.
        option: String,
        /// What is wrong.
        what: String,
        /// The values there are.
        known: Vec<&'static str>,
    },
    /// An option is given twice.
    #[error(
        "metric `{metric}`: option `{option}` is given twice; alternatives stand in one value, as in `pod|ip`"
    )]
    OptionTwice {
        /// The plugin.
        metric: &'static str,
        /// The option.
        option: String,
    },
    /// Filters, which Cilium has in its dynamic form.
    #[error(
        "metric `{0}`: `includeFilters` and `excludeFilters` are not supported; use contexts and filter by label"
    )]
    Filters(&'static str),
}

/// The nearest of the names, else all of them.
fn hint(written: &str, known: &[&str]) -> String {
    let distance = |name: &&str| strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase());
    match known.iter().map(|name| (distance(name), *name)).min() {
        Some((far, name)) if far <= 1 + name.len() / 4 => format!("; did you mean `{name}`?"),
        Some(_) => format!("; write one of {}", known.join(", ")),
        None => String::new(),
    }
}

/// What stands between backticks.
fn within(text: &str) -> &str {
    text.split('`').nth(1).unwrap_or(text)
}

/// One plugin with its options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PluginConfig {
    pub(super) name: &'static str,
    flags: Vec<&'static str>,
    pub(super) contexts: ContextOptions,
}

impl PluginConfig {
    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    fn new<'a>(
        written: &str,
        options: impl Iterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Self, ConfigError> {
        let known = || PLUGINS.iter().map(|(name, _)| *name).collect();
        let found = PLUGINS.iter().find(|(name, _)| *name == written);
        let (metric, flags) =
            *found.ok_or_else(|| ConfigError::UnknownMetric { name: written.to_owned(), known: known() })?;
        let mut config = Self { name: metric, flags: Vec::new(), contexts: ContextOptions::default() };
        let mut seen: Vec<&str> = Vec::new();
        for (option, values) in options {
            if seen.contains(&option) {
                return Err(ConfigError::OptionTwice { metric, option: option.to_owned() });
            }
            seen.push(option);
            let wrong =
                |what, known| ConfigError::WrongValue { metric, option: option.to_owned(), what, known };
            if let Some(set) = config.contexts.set(option, &values) {
                set.map_err(|(what, known)| wrong(what, known))?;
            } else if let Some(flag) = flags.iter().find(|flag| **flag == option) {
                match values.as_slice() {
                    [] | [""] | ["true"] => config.flags.push(flag),
                    ["false"] => {}
                    other => {
                        let what = format!("`{}` is neither true nor false", other.join(","));
                        return Err(wrong(what, vec!["true", "false"]));
                    }
                }
            } else {
                let known = flags.iter().chain(&OPTIONS).copied().collect();
                return Err(ConfigError::UnknownOption { metric, option: option.to_owned(), known });
            }
        }
        Ok(config)
    }
}

/// The metrics that are made of flows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsConfig(pub(super) Vec<PluginConfig>);

impl Default for MetricsConfig {
    fn default() -> Self {
        Self::parse(&DEFAULT).unwrap_or(Self(Vec::new()))
    }
}

impl MetricsConfig {
    /// Reads the list as Cilium's Helm values have it: `name`, or `name:option=value;option;…`.
    ///
    /// # Errors
    /// The first thing that is wrong, and what to write instead.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, ConfigError> {
        let plugins = list.iter().map(|entry| {
            let (name, rest) = entry.as_ref().split_once(':').unwrap_or((entry.as_ref(), ""));
            let options = rest.split(';').map(str::trim).filter(|option| !option.is_empty());
            let options = options.map(|option| {
                let (option, value) = option.split_once('=').unwrap_or((option, ""));
                let separator = if option.trim() == "labelsContext" { ',' } else { '|' };
                // On Helm's command line a comma needs a backslash.
                let values = value.split(separator).map(|value| value.trim().trim_end_matches('\\'));
                (option.trim(), values.filter(|value| !value.is_empty()).collect())
            });
            PluginConfig::new(name.trim(), options)
        });
        Self::checked(plugins.collect::<Result<_, _>>()?)
    }

    /// Takes the dynamic form.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_dynamic(dynamic: &Dynamic) -> Result<Self, ConfigError> {
        let plugins = dynamic.metrics.iter().map(|entry| {
            let options = entry.context_options.iter().map(|option| {
                (option.name.as_str(), option.values.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let plugin = PluginConfig::new(&entry.name, options)?;
            let filtered = !entry.include_filters.is_empty() || !entry.exclude_filters.is_empty();
            if filtered { Err(ConfigError::Filters(plugin.name)) } else { Ok(plugin) }
        });
        Self::checked(plugins.collect::<Result<_, _>>()?)
    }

    fn checked(plugins: Vec<PluginConfig>) -> Result<Self, ConfigError> {
        for (at, plugin) in plugins.iter().enumerate() {
            if plugins[..at].iter().any(|other| other.name == plugin.name) {
                return Err(ConfigError::Twice(plugin.name));
            }
        }
        let has = |name| plugins.iter().any(|plugin| plugin.name == name);
        if has("http") && has("httpV2") {
            return Err(ConfigError::BothHttp);
        }
        Ok(Self(plugins))
    }

    /// Names of the plugins, in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|plugin| plugin.name)
    }
}

/// A file in the shape of Cilium's dynamic metrics configuration.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dynamic {
    /// Plugins.
    #[serde(default)]
    pub metrics: Vec<DynamicMetric>,
}

/// One plugin in it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DynamicMetric {
    /// Its name.
    pub name: String,
    /// Its options, contexts and others.
    #[serde(default)]
    pub context_options: Vec<DynamicOption>,
    /// Filters, which are refused.
    #[serde(default)]
    pub include_filters: Vec<serde_json::Value>,
    /// Filters, which are refused.
    #[serde(default)]
    pub exclude_filters: Vec<serde_json::Value>,
}

/// One option in it.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicOption {
    /// Its name.
    pub name: String,
    /// Its values.
    #[serde(default)]
    pub values: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(entry: &str) -> String {
        MetricsConfig::parse(&[entry]).expect_err(entry).to_string()
    }

    #[test]
    fn both_notations_say_the_same() {
        let list = [
            "dns:query;ignoreAAAA=true",
            "drop:sourceContext=pod|reserved-identity;destinationIngressContext=workload-name",
            "httpV2:exemplars=true;labelsContext=source_ip\\,source_namespace,traffic_direction",
            "flow: sourceContext = app ",
        ];
        let dynamic = serde_json::json!({"metrics": [
            {"name": "dns", "contextOptions": [{"name": "query"}, {"name": "ignoreAAAA", "values": ["true"]}]},
            {"name": "drop", "contextOptions": [
                {"name": "sourceContext", "values": ["pod", "reserved-identity"]},
                {"name": "destinationIngressContext", "values": ["workload-name"]},
            ]},
            {"name": "httpV2", "contextOptions": [
                {"name": "exemplars", "values": ["true"]},
                {"name": "labelsContext", "values": ["source_ip", "source_namespace", "traffic_direction"]},
            ]},
            {"name": "flow", "contextOptions": [{"name": "sourceContext", "values": ["app"]}], "includeFilters": []},
        ]});
        let dynamic: Dynamic = serde_json::from_value(dynamic).expect("shape");
        let config = MetricsConfig::parse(&list).expect("valid");
        assert_eq!(MetricsConfig::from_dynamic(&dynamic), Ok(config.clone()));
        assert_eq!(config.names().collect::<Vec<_>>(), ["dns", "drop", "httpV2", "flow"]);
        let labels: Vec<_> = config.0.iter().map(|plugin| plugin.contexts.names()).collect();
        assert_eq!(labels[1], ["source", "destination"]);
        assert_eq!(labels[2], ["source_ip", "source_namespace", "traffic_direction"]);
        assert!(config.0[0].has("query") && config.0[0].has("ignoreAAAA") && config.0[2].has("exemplars"));
        assert!(!MetricsConfig::parse(&["httpV2:exemplars=false"]).expect("valid").0[0].has("exemplars"));
        assert_eq!(MetricsConfig::default().names().count(), DEFAULT.len());
    }

    #[test]
    fn errors_say_what_to_write() {
        for (entry, expected) in [
            ("htttp", "unknown metric `htttp`; did you mean `http`?"),
            ("httpv2", "unknown metric `httpv2`; did you mean `httpV2`?"),
            (
                "everything",
                "unknown metric `everything`; write one of dns, drop, flow, flows-to-world, http, httpV2, icmp, kafka, policy, \
                 port-distribution, sctp, tcp",
            ),
            ("dns:querry", "metric `dns`: unknown option `querry`; did you mean `query`?"),
            (
                "drop:sourcecontext=pod",
                "metric `drop`: unknown option `sourcecontext`; did you mean `sourceContext`?",
            ),
            (
                "drop:sourceContext=pods",
                "metric `drop`: option `sourceContext`: unknown value `pods`; did you mean `pod`?",
            ),
            (
                "drop:sourceContext",
                "metric `drop`: option `sourceContext`: no value; write one of identity, namespace, pod, pod-name, dns, ip, \
                 reserved-identity, workload, workload-name, app",
            ),
            (
                "drop:labelsContext=source_node",
                "metric `drop`: option `labelsContext`: unknown value `source_node`; did you mean `source_pod`?",
            ),
            (
                "dns:query=yes",
                "metric `dns`: option `query`: `yes` is neither true nor false; write one of true, false",
            ),
            (
                "tcp:sourceContext=pod;sourceContext=ip",
                "metric `tcp`: option `sourceContext` is given twice; alternatives stand in one value, as in `pod|ip`",
            ),
            ("tcp:sourceContext=pod|pod", "metric `tcp`: option `sourceContext`: `pod` twice"),
        ] {
            assert_eq!(error(entry), expected);
        }
        let both = MetricsConfig::parse(&["http", "httpV2"]).expect_err("both").to_string();
        assert_eq!(both, "`http` and `httpV2` make metrics of the same names; leave one of them out");
        let twice = MetricsConfig::parse(&["tcp", "tcp:sourceContext=ip"]).expect_err("twice").to_string();
        assert_eq!(twice, "metric `tcp` is listed twice; write all its options behind one of them");
        let filtered = r#"{"metrics": [{"name": "drop", "excludeFilters": [{"source_pod": ["a/b"]}]}]}"#;
        let filtered: Dynamic = serde_json::from_str(filtered).expect("shape");
        assert_eq!(MetricsConfig::from_dynamic(&filtered), Err(ConfigError::Filters("drop")));
    }
}
