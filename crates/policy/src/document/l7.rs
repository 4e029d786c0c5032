//! Application rules: `rules.http`, `rules.dns`, `rules.kafka`.

use std::sync::Arc;

use l7::kafka::{API_NAMES, api_key};

use super::peers;
use super::{Cursor, Fields};
use crate::re2;
use crate::rule::{HeaderMatch, HttpRule, KafkaRule, L7Rules, Mismatch};

/// Why a rule with a parser of another proxy is not honoured.
const PARSER: &str = "there is no parser for this `l7proto`";
/// Why a rule with a header value from a secret is not honoured.
const SECRET: &str = "header values from secrets are not supported";
/// What a header condition with an action other than `LOG` is told.
const REWRITE: &str = "header fields are not rewritten";
/// Why a rule with a `host` that is no expression is not honoured.
const HOST: &str = "`host` is not a valid expression";
/// Why a rule with an empty header name is not honoured.
const HEADER: &str = "a header without a name";

/// Longest topic name (Kafka's own limit is 249, the API admits this much).
const MAX_TOPIC: usize = 255;

/// What `rules` says.
pub(crate) struct Read {
    /// `None` for an empty list: no condition on messages.
    pub(crate) rules: Option<L7Rules>,
    pub(crate) unsupported: Option<&'static str>,
}

/// Reads `rules` of a `toPorts` element.
pub(crate) fn read(at: &Cursor<'_>) -> Option<Read> {
    if let crate::yaml::Value::List(items) = &at.node.value {
        let inside = items.first().is_some_and(|item| item.get("http").is_some());
        at.error_hint(
            "`rules` is a mapping, not a list",
            if inside { "write `rules: {http: [{method: GET, path: /…}]}`" } else { "remove the `- `" },
        );
        for item in at.items().unwrap_or_default() {
            read_one(&item);
        }
        return None;
    }
    read_one(at)
}

fn read_one(at: &Cursor<'_>) -> Option<Read> {
    let fields = at.fields(&["http", "kafka", "dns", "l7proto", "l7"])?;
    let written: Vec<&str> =
        ["http", "kafka", "dns", "l7proto"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    match written.as_slice() {
        [] if fields.get("l7").is_some() => at.error("`l7` needs `l7proto`"),
        [] => at.error_hint("`rules` is empty", "write one of `http`, `dns`, `kafka`, or remove `rules`"),
        [_] => {}
        [first, second, ..] => {
            at.error(format!("`{first}` and `{second}` cannot be combined: a port speaks one protocol"));
        }
    }
    let mut unsupported = None;
    if let Some(proto) = fields.get("l7proto") {
        if proto.string().is_some_and(|text| text.is_empty()) {
            proto.error("`l7proto` is empty");
        }
        proto.warn(format!("{PARSER}: what this rule would allow is denied"));
        unsupported = Some(PARSER);
    }
    let rules = if fields.get("http").is_some() {
        let rules = fields.items("http").iter().filter_map(|at| http(at, &mut unsupported)).collect();
        non_empty(rules).map(L7Rules::Http)
    } else if fields.get("dns").is_some() {
        non_empty(fields.items("dns").iter().filter_map(peers::name_match).collect()).map(L7Rules::Dns)
    } else {
        non_empty(fields.items("kafka").iter().filter_map(kafka).collect()).map(L7Rules::Kafka)
    };
    Some(Read { rules, unsupported })
}

fn non_empty<T>(rules: Vec<T>) -> Option<Vec<T>> {
    (!rules.is_empty()).then_some(rules)
}

fn http(at: &Cursor<'_>, unsupported: &mut Option<&'static str>) -> Option<HttpRule> {
    let fields = at.fields(&["method", "path", "host", "headers", "headerMatches"])?;
    let mut rule = HttpRule {
        method: expression(&fields, "method"),
        path: expression(&fields, "path"),
        host: fields.string("host").filter(|text| !text.is_empty()),
        headers: Vec::new(),
    };
    if let Some(method) = rule.method.as_deref().filter(|m| m.bytes().any(|b| b.is_ascii_lowercase()))
        && method.bytes().all(|b| b.is_ascii_alphabetic())
        && let Some(at) = fields.get("method")
    {
        at.warn_hint(
            format!("methods are case-sensitive: `{method}` matches no usual request"),
            format!("write `{}`", method.to_ascii_uppercase()),
        );
    }
    if let Some(path) =
        rule.path.as_deref().filter(|path| !path.starts_with(['/', '.', '(', '[', '^', '*', '\\']))
        && let Some(at) = fields.get("path")
    {
        at.warn_hint(
            format!("`{path}` must match the whole path, which starts with `/`"),
            format!("write `/{path}`"),
        );
    }
    // The API admits a `host` that is no expression; no request would ever be allowed by it.
    if let Some(host) = &rule.host
        && let Err(error) = re2::check(host)
        && let Some(at) = fields.get("host")
    {
        at.warn(format!("not an expression: {error}; what this rule would allow is denied"));
        *unsupported = Some(HOST);
        rule.host = None;
    }
    for at in fields.items("headers") {
        let Some(text) = at.string() else { continue };
        let header = header(&at, &text);
        if header.name.is_empty() {
            at.warn("a header without a name: what this rule would allow is denied");
            *unsupported = Some(HEADER);
        }
        rule.headers.push(header);
    }
    for at in fields.items("headerMatches") {
        rule.headers.extend(header_match(&at, unsupported));
    }
    Some(rule)
}

/// A regular expression; the empty one is no condition.
fn expression(fields: &Fields<'_>, key: &str) -> Option<Arc<str>> {
    let at = fields.get(key)?;
    let text = at.string().filter(|text| !text.is_empty())?;
    if let Err(error) = re2::check(&text) {
        at.error(format!("not an expression: {error}"));
        return None;
    }
    Some(text)
}

/// `Name`, or `Name: value`, split at the first space.
fn header(at: &Cursor<'_>, text: &str) -> HeaderMatch {
    let (name, value) = match text.split_once(' ') {
        Some((name, value)) => (name.strip_suffix(':').unwrap_or(name), Some(value)),
        None => (text.strip_suffix(':').unwrap_or(text), None),
    };
    if let Some(value) = value.filter(|value| value.contains(".*") || value.contains(".+")) {
        at.warn_hint(
            format!("the header must have exactly the value `{value}`; it is not an expression"),
            format!("for any value write `headerMatches: [{{name: {name}}}]`"),
        );
    } else if value.is_none() && text.find(':').is_some_and(|colon| colon + 1 < text.len()) {
        at.warn_hint(
            "there is no space after the colon, so all of it is taken as the name",
            "write `Name: value`",
        );
    }
    HeaderMatch {
        name: name.to_ascii_lowercase().into(),
        value: value.map(Arc::from),
        mismatch: Mismatch::Fail,
    }
}

fn header_match(at: &Cursor<'_>, unsupported: &mut Option<&'static str>) -> Option<HeaderMatch> {
    let fields = at.fields(&["name", "value", "secret", "mismatch"])?;
    let name_at = fields.need("name")?;
    let name = name_at.string()?;
    if name.is_empty() {
        name_at.error("the header has no name");
        return None;
    }
    let value = fields.string("value").filter(|text| !text.is_empty());
    if let Some(secret) = fields.get_some("secret") {
        if let Some(name) = secret.fields(&["namespace", "name"]).and_then(|fields| fields.need("name"))
            && name.string().is_some_and(|text| text.is_empty())
        {
            name.error("the secret has no name");
        }
        secret.warn(format!("{SECRET}: what this rule would allow is denied"));
        *unsupported = Some(SECRET);
    }
    let mismatch = match fields.get("mismatch") {
        None => Mismatch::Fail,
        Some(at) => match &*at.word(&["LOG", "ADD", "DELETE", "REPLACE"])? {
            "LOG" => Mismatch::Log,
            action => {
                at.warn(format!(
                    "{REWRITE}, so what needs `{action}` is denied unless another rule allows it"
                ));
                match action {
                    "ADD" => Mismatch::Add,
                    "DELETE" => Mismatch::Delete,
                    _ => Mismatch::Replace,
                }
            }
        },
    };
    if value.as_deref().is_some_and(|value| value.contains(".*") || value.contains(".+")) {
        at.warn_hint(
            "`value` is compared exactly; it is not an expression",
            "for any value leave `value` out",
        );
    }
    Some(HeaderMatch { name: name.to_ascii_lowercase().into(), value, mismatch })
}

fn kafka(at: &Cursor<'_>) -> Option<KafkaRule> {
    let fields = at.fields(&["role", "apiKey", "apiVersion", "clientID", "topic"])?;
    let mut rule = KafkaRule {
        client_id: fields.string("clientID").filter(|text| !text.is_empty()),
        ..KafkaRule::default()
    };
    if let Some(role) = fields.get("role") {
        rule.api_keys = match &*role.word(&["produce", "consume"])? {
            "produce" => PRODUCE.to_vec(),
            _ => CONSUME.to_vec(),
        };
    }
    if let Some(at) = fields.get("apiKey")
        && let Some(text) = at.string().filter(|text| !text.is_empty())
    {
        if fields.get("role").is_some() {
            at.error("`role` and `apiKey` cannot be combined");
        }
        match api_key(&text) {
            Some(key) => rule.api_keys = vec![key],
            None => match crate::suggest::closest(&text, &API_NAMES) {
                Some(word) => {
                    at.error_hint(format!("`{text}` is no Kafka API key"), format!("did you mean `{word}`?"))
                }
                None => at.error(format!("`{text}` is no Kafka API key")),
            },
        }
    }
    if let Some(at) = fields.get("apiVersion")
        && let Some(text) = at.string().filter(|text| !text.is_empty())
    {
        match text.parse::<i16>() {
            Ok(version) => rule.api_version = Some(version),
            Err(_) => at.error(format!("`{text}` is no API version: it is a number up to 32767, in quotes")),
        }
    }
    if let Some(at) = fields.get("topic")
        && let Some(text) = at.string().filter(|text| !text.is_empty())
    {
        let admitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.len() > MAX_TOPIC {
            at.error(format!("the topic is longer than {MAX_TOPIC} bytes"));
        } else if !text.bytes().all(admitted) {
            at.error_hint(
                format!("`{text}` is no topic name: letters, digits, `.`, `_` and `-` only"),
                "topics are compared exactly; leave `topic` out for every topic",
            );
        }
        rule.topic = Some(text);
    }
    Some(rule)
}

/// Requests of a producer.
const PRODUCE: [i16; 3] = [0, 3, 18];
/// Requests of a consumer.
const CONSUME: [i16; 11] = [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18];
