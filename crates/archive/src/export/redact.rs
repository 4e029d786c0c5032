//! What is hidden before a record leaves: Hubble's redaction, on a copy of the record.
//!
//! The text for people (`Summary`) and our hint repeat what the fields say, so they are searched as well; what looks
//! like a query there is hidden even where it is not that of the field.

use super::config::{Redact, RedactHttp};
use flowlog::Record;
use flowlog::record::{Http, HttpHeader};
use std::borrow::Cow;

/// Stands where something was.
pub const REDACTED: &str = "HUBBLE_REDACTED";

/// Ready to hide.
#[derive(Clone, Debug)]
pub(super) struct Redactor {
    settings: Redact,
}

impl Redactor {
    /// `None` where nothing is hidden.
    pub(super) fn new(settings: &Redact) -> Option<Self> {
        settings.enabled.then(|| Self { settings: settings.clone() })
    }

    /// The record as it may be seen; only those with messages are copied.
    pub(super) fn apply<'a>(&self, record: &'a Record) -> Cow<'a, Record> {
        let Some(l7) = &record.l7 else { return Cow::Borrowed(record) };
        let kafka = self.settings.kafka.api_key && l7.kafka.is_some();
        if l7.http.is_none() && !kafka {
            return Cow::Borrowed(record);
        }
        let mut record = record.clone();
        if let Some(http) = record.l7.as_mut().and_then(|l7| l7.http.as_mut()) {
            let rules = &self.settings.http;
            redact_http(http, rules);
            record.summary = redact_text(&record.summary, rules);
            if let Some(hint) = record.extensions.as_mut().and_then(|extra| extra.hint.as_mut()) {
                *hint = redact_text(hint, rules);
            }
        }
        if kafka && let Some(kafka) = record.l7.as_mut().and_then(|l7| l7.kafka.as_mut()) {
            let key = std::mem::replace(&mut kafka.api_key, REDACTED.to_owned());
            record.summary = without_word(&record.summary, &key);
            if let Some(hint) = record.extensions.as_mut().and_then(|extra| extra.hint.as_mut()) {
                *hint = without_word(hint, &key);
            }
        }
        Cow::Owned(record)
    }
}

fn redact_http(http: &mut Http, rules: &RedactHttp) {
    http.url = redact_url(&http.url, rules);
    let is_in =
        |list: &[String], header: &HttpHeader| list.iter().any(|name| name.eq_ignore_ascii_case(&header.key));
    let lists = &rules.headers;
    for header in &mut http.headers {
        let hidden = !lists.allow.is_empty() && !is_in(&lists.allow, header) || is_in(&lists.deny, header);
        if hidden {
            REDACTED.clone_into(&mut header.value);
        }
    }
}

fn redact_url(url: &str, rules: &RedactHttp) -> String {
    let mut url = if rules.user_info { without_user(url) } else { url.to_owned() };
    if rules.url_query
        && let Some(at) = url.find(['?', '#'])
    {
        url.truncate(at);
        url.push('?');
        url.push_str(REDACTED);
    }
    url
}

/// What stands in a sentence: each word as if it were a URL.
fn redact_text(text: &str, rules: &RedactHttp) -> String {
    let words: Vec<String> = text.split(' ').map(|word| redact_word(word, rules)).collect();
    words.join(" ")
}

fn redact_word(word: &str, rules: &RedactHttp) -> String {
    // A host alone, as in a hint: no scheme before the user.
    let bare = rules.user_info && !word.contains("://") && word.contains('@');
    match word.rsplit_once('@').filter(|_| bare) {
        Some((_, rest)) => redact_url(&format!("{REDACTED}@{rest}"), rules),
        None => redact_url(word, rules),
    }
}

/// Every `user:password@` behind a `://`: a request target may itself be a URL.
fn without_user(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str(REDACTED);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn without_word(text: &str, word: &str) -> String {
    let hide = |part| if part == word { REDACTED } else { part };
    text.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::config::{RedactHeaders, RedactKafka};
    use flowlog::record::{Extensions, Kafka, Layer7};

    fn http(url: &str) -> Record {
        let header = |key: &str, value: &str| HttpHeader { key: key.into(), value: value.into() };
        Record {
            summary: format!("HTTP/1.1 GET {url}"),
            l7: Some(Layer7 {
                http: Some(Http {
                    url: url.into(),
                    method: "GET".into(),
                    headers: vec![header("User-Agent", "curl"), header("x-request-id", "42")],
                    ..Http::default()
                }),
                ..Layer7::default()
            }),
            extensions: Some(Extensions {
                hint: Some("allow GET /a?token=s3cret of u:s3cret@host here".into()),
                ..Extensions::default()
            }),
            ..Record::default()
        }
    }

    fn shown(record: &Record) -> String {
        serde_json::to_string(record).expect("JSON")
    }

    fn settings(url_query: bool, user_info: bool, allow: &[&str], deny: &[&str], api_key: bool) -> Redact {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Redact {
            enabled: true,
            http: RedactHttp {
                url_query,
                user_info,
                headers: RedactHeaders { allow: list(allow), deny: list(deny) },
            },
            kafka: RedactKafka { api_key },
        }
    }

    #[test]
    fn urls_lose_what_is_switched_on_and_keep_the_rest() {
        let r = REDACTED;
        // URL; query; user; what is left.
        let table = [
            ("http://h/a?token=s3cret", true, false, format!("http://h/a?{r}")),
            ("http://h/a?token=s3cret#frag", true, true, format!("http://h/a?{r}")),
            ("http://h/a#s3cret", true, true, format!("http://h/a?{r}")),
            ("http://h/a?x=1", false, true, "http://h/a?x=1".to_owned()),
            ("http://u:s3cret@h/a", false, true, format!("http://{r}@h/a")),
            ("http://s3cret@h/a?q", true, true, format!("http://{r}@h/a?{r}")),
            ("http://u:s3@cret@h/a", false, true, format!("http://{r}@h/a")),
            ("http://u:pw@h/a", true, false, "http://u:pw@h/a".to_owned()),
            ("http://p/http://u:s3cret@h/a", false, true, format!("http://p/http://{r}@h/a")),
            ("http://h/mail@example", true, true, "http://h/mail@example".to_owned()),
            ("http://h", true, true, "http://h".to_owned()),
            ("", true, true, String::new()),
        ];
        for (url, query, user, expected) in table {
            let redactor = Redactor::new(&settings(query, user, &[], &[], false)).expect("enabled");
            let record = http(url);
            let seen = redactor.apply(&record);
            let of = |r: &Record| r.l7.as_ref().and_then(|l7| l7.http.as_ref()).map(|h| h.url.clone());
            assert_eq!(of(&seen), Some(expected), "{url}");
            if query && user {
                assert!(!shown(&seen).contains("s3cret"), "{}", shown(&seen));
            }
        }
    }

    #[test]
    fn header_lists_decide() {
        let r = REDACTED;
        let table: [(&[&str], &[&str], [&str; 2]); 4] = [
            (&[], &[], ["curl", "42"]),
            (&["user-agent"], &[], ["curl", r]),
            (&[], &["X-Request-Id"], ["curl", r]),
            (&["nothing"], &[], [r, r]),
        ];
        for (allow, deny, expected) in table {
            let redactor = Redactor::new(&settings(false, false, allow, deny, false)).expect("enabled");
            let record = http("http://h/a");
            let seen = redactor.apply(&record);
            let http = seen.l7.as_ref().and_then(|l7| l7.http.as_ref()).expect("HTTP");
            let values: Vec<&str> = http.headers.iter().map(|h| h.value.as_str()).collect();
            assert_eq!(values, expected, "{allow:?} {deny:?}");
        }
    }

    #[test]
    fn defaults_once_enabled_are_hubbles() {
        assert!(Redactor::new(&Redact::default()).is_none());
        let settings = Redact { enabled: true, ..Redact::default() };
        let record = http("http://u:s3cret@h/a?q=1");
        let seen = Redactor::new(&settings).expect("enabled").apply(&record).into_owned();
        let text = shown(&seen);
        assert!(text.contains("http://HUBBLE_REDACTED@h/a?q=1") && text.contains("\"curl\""), "{text}");
        assert!(!text.contains("u:s3cret"), "{text}");
    }

    #[test]
    fn kafka_keys_are_hidden_where_asked() {
        let record = Record {
            summary: "Kafka request fetch correlation id 5 topic 'fetch'".into(),
            l7: Some(Layer7 {
                kafka: Some(Kafka { api_key: "fetch".into(), ..Kafka::default() }),
                ..Layer7::default()
            }),
            ..Record::default()
        };
        let off = Redactor::new(&settings(true, true, &[], &[], false)).expect("enabled");
        assert_eq!(off.apply(&record).as_ref(), &record);
        let on = Redactor::new(&settings(true, true, &[], &[], true)).expect("enabled");
        let seen = on.apply(&record);
        assert_eq!(seen.summary, "Kafka request HUBBLE_REDACTED correlation id 5 topic 'fetch'");
        assert!(shown(&seen).contains(r#""api_key":"HUBBLE_REDACTED""#));
    }

    #[test]
    fn records_without_messages_are_not_copied() {
        let redactor = Redactor::new(&settings(true, true, &[], &[], true)).expect("enabled");
        assert!(matches!(redactor.apply(&Record::default()), Cow::Borrowed(_)));
    }
}
