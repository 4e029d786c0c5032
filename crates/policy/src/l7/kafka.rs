//! Kafka rules.

use super::{FragmentRules, L7Fragment};
use crate::provenance::RuleId;
use crate::rule::KafkaRule;
use std::sync::Arc;

/// What rules look at in a request.
#[derive(Copy, Clone, Debug)]
pub struct KafkaRequest<'a> {
    /// API key.
    pub api_key: i16,
    /// API version.
    pub api_version: i16,
    /// Client id; empty if there is none.
    pub client_id: &'a str,
    /// Topics that the request names; empty for APIs without topics.
    pub topics: &'a [&'a str],
}

/// The rule that denies the request: one that matches it, for any of its topics.
pub(super) fn denied(fragments: &[Arc<L7Fragment>], request: &KafkaRequest<'_>) -> Option<RuleId> {
    let hits = |rule: &KafkaRule| {
        head_fits(rule, request)
            && rule
                .topic
                .as_ref()
                .is_none_or(|topic| request.topics.is_empty() || request.topics.contains(&&**topic))
    };
    rules(fragments).find(|(_, rule)| hits(rule)).map(|(id, _)| id)
}

/// The rule that allows the request, or the last of those that do so together.
pub(super) fn allowed(fragments: &[Arc<L7Fragment>], request: &KafkaRequest<'_>) -> Option<RuleId> {
    let fitting = || rules(fragments).filter(|(_, rule)| head_fits(rule, request));
    let whole = fitting().find(|(_, rule)| rule.topic.is_none() || request.topics.is_empty());
    if let Some((id, _)) = whole {
        return Some(id);
    }
    let mut last = None;
    for topic in request.topics {
        last = Some(fitting().find(|(_, rule)| rule.topic.as_deref() == Some(topic))?.0);
    }
    last
}

fn rules(fragments: &[Arc<L7Fragment>]) -> impl Iterator<Item = (RuleId, &KafkaRule)> {
    fragments.iter().flat_map(|fragment| {
        let rules: &[KafkaRule] = match &fragment.rules {
            FragmentRules::Kafka(rules) => rules,
            _ => &[],
        };
        rules.iter().map(|rule| (fragment.rule, rule))
    })
}

fn head_fits(rule: &KafkaRule, request: &KafkaRequest<'_>) -> bool {
    (rule.api_keys.is_empty() || rule.api_keys.contains(&request.api_key))
        && rule.api_version.is_none_or(|version| version == request.api_version)
        && rule.client_id.as_ref().is_none_or(|id| **id == *request.client_id)
}
