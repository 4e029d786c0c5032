use super::*;
use crate::rule::{HeaderMatch, Mismatch};
use std::fmt::Write as _;

fn set(kind: L7Kind, allow: FragmentRules, deny: Option<FragmentRules>, audit: bool) -> L7RuleSet {
    let fragment = |rule, rules| Arc::new(L7Fragment { rule: RuleId(rule), rules });
    let deny = deny.into_iter().map(|rules| fragment(2, rules)).collect();
    L7RuleSet::new(kind, false, vec![fragment(1, allow)], deny, audit, RuleId(3))
}

fn http(method: Option<&str>, path: Option<&str>) -> HttpRule {
    HttpRule { method: method.map(Into::into), path: path.map(Into::into), ..HttpRule::default() }
}

fn get<'a>(path: &'a str, headers: &'a dyn Headers) -> HttpRequest<'a> {
    HttpRequest { method: b"GET", path: path.as_bytes(), host: b"api:8080", headers }
}

#[test]
fn patterns_match_the_whole_field() {
    let rules =
        FragmentRules::Http(vec![http(Some("GET|HEAD"), Some("/public")), http(None, Some("/v[0-9]+/.*"))]);
    let set = set(L7Kind::Http, rules, None, false);
    for (path, allowed) in
        [("/public", true), ("/public/", false), ("/public?x=1", false), ("/v12/a", true), ("/x/v1/a", false)]
    {
        assert_eq!(set.http(&get(path, &())).allowed, allowed, "{path}");
    }
    let post = HttpRequest { method: b"POST", ..get("/public", &()) };
    assert!(!set.http(&post).allowed);
}

#[test]
fn a_line_break_does_not_end_a_field() {
    let set = set(L7Kind::Http, FragmentRules::Http(vec![http(None, Some("/a.*|^/b$"))]), None, false);
    assert!(!set.http(&get("/b\n/x", &())).allowed);
    assert!(!set.http(&get("/x\n/b", &())).allowed);
}

#[test]
fn headers_by_presence_value_and_mismatch_action() {
    let header = |value: Option<&str>, mismatch| HeaderMatch {
        name: "x-token".into(),
        value: value.map(Into::into),
        mismatch,
    };
    let rule = |header| FragmentRules::Http(vec![HttpRule { headers: vec![header], ..HttpRule::default() }]);
    let one = [("X-Token", "a")];
    let two = [("x-token", "a"), ("X-TOKEN", "b")];
    let ask = |header, request: &dyn Headers| {
        set(L7Kind::Http, rule(header), None, false).http(&get("/", request)).allowed
    };
    assert!(ask(header(None, Mismatch::Fail), &one.to_vec()));
    assert!(!ask(header(None, Mismatch::Fail), &()));
    assert!(ask(header(Some("a"), Mismatch::Fail), &one.to_vec()));
    assert!(!ask(header(Some("a"), Mismatch::Fail), &two.to_vec()));
    assert!(ask(header(Some("a,b"), Mismatch::Fail), &two.to_vec()));
    assert!(ask(header(Some("z"), Mismatch::Log), &one.to_vec()));
    assert!(ask(header(Some("a"), Mismatch::Delete), &()), "nothing to delete");
}

#[test]
fn what_needs_header_fields_changed_is_unsupported_unless_another_rule_allows_it() {
    let header = |value: Option<&str>, mismatch| HeaderMatch {
        name: "x-env".into(),
        value: value.map(Into::into),
        mismatch,
    };
    let rule = |path: &str, headers| HttpRule { path: Some(path.into()), headers, ..HttpRule::default() };
    for action in [Mismatch::Add, Mismatch::Delete, Mismatch::Replace] {
        let rules = vec![
            rule("/.*", vec![header(Some("test"), action)]),
            rule("/open", Vec::new()),
            rule("/shut", vec![header(Some("x"), Mismatch::Fail), header(Some("test"), action)]),
        ];
        for audit in [false, true] {
            let set = set(L7Kind::Http, FragmentRules::Http(rules.clone()), None, audit);
            let other = vec![("X-Env", "prod")];
            let denied = set.http(&get("/", &other));
            assert_eq!((denied.allowed, denied.audited), (audit, audit), "{action:?}");
            assert_eq!((denied.reason, denied.rule), (Some(DenyReason::Unsupported), RuleId(1)));
            assert_eq!(set.http_rewritten(&get("/", &other)).reason, None);
            assert_eq!(set.http(&get("/open", &other)).reason, None);
            assert_eq!(set.http(&get("/", &vec![("x-env", "test")])).reason, None, "it is as it is to be");
        }
    }
    let denied = FragmentRules::Http(vec![rule("/.*", vec![header(None, Mismatch::Replace)])]);
    let set = set(L7Kind::Http, FragmentRules::Http(vec![http(None, None)]), Some(denied), false);
    assert_eq!(set.http(&get("/", &vec![("x-env", "a")])).reason, Some(DenyReason::DenyRule));
    assert_eq!(set.http(&get("/", &())).reason, None);
}

#[test]
fn deny_conditions_beat_allowing_ones() {
    let deny = FragmentRules::Http(vec![http(None, Some("/admin.*"))]);
    let set = set(L7Kind::Http, FragmentRules::Http(vec![http(None, None)]), Some(deny), false);
    let decision = set.http(&get("/admin/x", &()));
    assert_eq!((decision.allowed, decision.rule), (false, RuleId(2)));
    assert_eq!(set.http(&get("/", &())).rule, RuleId(1));
}

#[test]
fn audit_lets_pass_and_marks() {
    let set = set(L7Kind::Dns, FragmentRules::Dns(vec![NameMatch::name("a.b")]), None, true);
    let reason = Some(DenyReason::NoRule);
    assert_eq!(set.dns("x.y."), L7Decision { allowed: true, audited: true, rule: RuleId(3), reason });
    assert_eq!(set.dns("A.b."), L7Decision { allowed: true, audited: false, rule: RuleId(1), reason: None });
}

#[test]
fn a_message_of_another_protocol_is_denied() {
    let set = set(L7Kind::Dns, FragmentRules::Dns(vec![NameMatch::pattern("*")]), None, false);
    assert!(!set.http(&get("/", &())).allowed);
    assert!(!set.tls(Some("a")).allowed);
    assert!(!set.kafka(&KafkaRequest { api_key: 0, api_version: 0, client_id: "", topics: &[] }).allowed);
}

#[test]
fn kafka_topics_may_be_allowed_by_different_rules() {
    let rule =
        |topic: &str| KafkaRule { topic: Some(topic.into()), api_keys: vec![0], ..KafkaRule::default() };
    let set = set(L7Kind::Kafka, FragmentRules::Kafka(vec![rule("a"), rule("b")]), None, false);
    let ask = |api_key, topics: &[&str]| {
        set.kafka(&KafkaRequest { api_key, api_version: 1, client_id: "", topics }).allowed
    };
    assert!(ask(0, &["a", "b"]) && ask(0, &[]));
    assert!(!ask(0, &["a", "c"]) && !ask(1, &["a"]));
}

#[test]
fn server_names_fail_closed_without_one() {
    let set = set(L7Kind::Tls, FragmentRules::Tls(vec![Sni::parse("*.x.io")]), None, false);
    assert!(set.tls(Some("A.x.io")).allowed);
    assert!(!set.tls(Some("x.io")).allowed && !set.tls(None).allowed);
}

#[test]
fn a_hundred_patterns_find_the_right_rule() {
    let rules = (0..100).map(|n| http(None, Some(&format!("/service{n}/[a-z]+/[0-9]+")))).collect();
    let set = set(L7Kind::Http, FragmentRules::Http(rules), None, false);
    let mut path = String::new();
    for n in 0..100 {
        path.clear();
        write!(path, "/service{n}/items/42").expect("a string takes text");
        assert!(set.http(&get(&path, &())).allowed, "{path}");
    }
    assert!(!set.http(&get("/service100/items/42", &())).allowed);
}
