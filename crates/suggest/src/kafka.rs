//! Kafka requests as rules: by role where one fits, by API otherwise, with the client where it is always the same.

use std::collections::{BTreeMap, BTreeSet};

/// `Produce`.
const PRODUCE: i16 = 0;
/// `Fetch`.
const FETCH: i16 = 1;
/// What `role: produce` admits.
const PRODUCER: [i16; 3] = [0, 3, 18];
/// What `role: consume` admits.
const CONSUMER: [i16; 11] = [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18];
/// Topics of one client beyond which the topic is left open.
const MAX_TOPICS: usize = 50;
/// Longest topic and client id that a rule holds.
const MAX_TEXT: usize = 255;

/// An API, a topic (empty for requests without one) and a client id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Asked {
    pub(crate) api: Api,
    pub(crate) topic: String,
    pub(crate) client: String,
}

/// An API: one that rules have a name for, or another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Api {
    /// Number, and name.
    Named(i16, String),
    /// No rule can name it.
    Other,
}

/// One item of `rules.kafka`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) topic: Option<String>,
    #[serde(rename = "clientID", skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
}

impl Api {
    /// The API of a record, by name or number.
    pub(crate) fn read(text: &str) -> Self {
        match policy::document::kafka_api_key(text) {
            Some(number) => Self::Named(number, text.to_ascii_lowercase()),
            None => Self::Other,
        }
    }
}

/// Whether a rule can name this topic.
pub(crate) fn is_topic(topic: &str) -> bool {
    let admitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    topic.len() <= MAX_TEXT && topic.bytes().all(admitted)
}

/// The rules that allow these requests.
pub(crate) fn rules(asked: &BTreeSet<Asked>) -> Vec<Rule> {
    let mut clients = asked.iter().map(|asked| asked.client.as_str());
    let first = clients.next().unwrap_or_default();
    let printable =
        !first.is_empty() && first.len() <= MAX_TEXT && first.bytes().all(|b| b.is_ascii_graphic());
    let client = (printable && clients.all(|client| client == first)).then(|| first.to_owned());
    let mut topics: BTreeMap<Option<&str>, BTreeSet<&Api>> = BTreeMap::new();
    let different: BTreeSet<&str> = asked.iter().map(|asked| asked.topic.as_str()).collect();
    for one in asked {
        let topic =
            Some(one.topic.as_str()).filter(|topic| !topic.is_empty() && different.len() <= MAX_TOPICS);
        topics.entry(topic).or_default().insert(&one.api);
    }
    let mut rules = BTreeSet::new();
    let rule = |topic: Option<&str>| Rule {
        topic: topic.map(str::to_owned),
        client: client.clone(),
        ..Rule::default()
    };
    // A request without topics is allowed by every rule with its API, whatever topic that names: those come last.
    let mut covered: BTreeSet<i16> = BTreeSet::new();
    let mut everything = false;
    for (topic, apis) in topics.iter().rev() {
        if apis.contains(&Api::Other) && !(topic.is_none() && everything) {
            everything = true;
            rules.insert(rule(*topic));
            continue;
        }
        let mut left: BTreeMap<i16, &str> = apis
            .iter()
            .filter_map(|api| match api {
                Api::Named(number, name) => Some((*number, name.as_str())),
                Api::Other => None,
            })
            .collect();
        if topic.is_none() {
            left.retain(|number, _| !everything && !covered.contains(number));
        }
        for (number, role, admits) in [(PRODUCE, "produce", &PRODUCER[..]), (FETCH, "consume", &CONSUMER[..])]
        {
            if left.contains_key(&number) {
                left.retain(|number, _| !admits.contains(number));
                covered.extend(admits);
                rules.insert(Rule { role: Some(role), ..rule(*topic) });
            }
        }
        for (number, name) in left {
            covered.insert(number);
            rules.insert(Rule { api_key: Some(name.to_owned()), ..rule(*topic) });
        }
    }
    rules.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[(&str, &str, &str)]) -> Vec<String> {
        let asked = list.iter().map(|(api, topic, client)| Asked {
            api: Api::read(api),
            topic: (*topic).to_owned(),
            client: (*client).to_owned(),
        });
        let text = |rule: &Rule| {
            let or = |text: Option<&str>| text.unwrap_or("-").to_owned();
            [or(rule.role.or(rule.api_key.as_deref())), or(rule.topic.as_deref()), or(rule.client.as_deref())]
                .join(" ")
        };
        rules(&asked.collect()).iter().map(text).collect()
    }

    #[test]
    fn roles_where_they_fit_and_the_client_where_it_is_one() {
        let one = [("apiversions", "", "app"), ("metadata", "orders", "app"), ("produce", "orders", "app")];
        assert_eq!(of(&one), ["produce orders app"]);
        let two = [
            ("produce", "orders", "a"),
            ("fetch", "orders", "b"),
            ("fetch", "events", "b"),
            ("heartbeat", "", "b"),
        ];
        assert_eq!(of(&two), ["consume events -", "consume orders -", "produce orders -"]);
    }

    #[test]
    fn apis_of_no_role_are_named_or_left_open() {
        assert_eq!(
            of(&[("metadata", "orders", ""), ("initproducerid", "", "")]),
            ["initproducerid - -", "metadata orders -"]
        );
        assert_eq!(of(&[("68", "", ""), ("fetch", "orders", "")]), ["- - -", "consume orders -"]);
        assert_eq!(of(&[("68", "orders", ""), ("heartbeat", "", "")]), ["- orders -"]);
    }

    #[test]
    fn too_many_topics_are_every_topic() {
        let names: Vec<String> = (0..60).map(|n| format!("t{n}")).collect();
        let list: Vec<_> = names.iter().map(|name| ("produce", name.as_str(), "")).collect();
        assert_eq!(of(&list), ["produce - -"]);
        assert!(is_topic("a.b_c-1") && !is_topic("a b") && !is_topic("cut…"));
    }
}
