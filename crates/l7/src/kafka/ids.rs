//! Names of topic ids, learnt from the answers to Metadata and CreateTopics that pass on a connection.

use super::schema::Role;
use super::walk::Sink;
use std::collections::HashMap;

/// Topics whose ids are remembered on one connection. When there are more, all are forgotten and learning begins anew.
const MAX_TOPICS: usize = 4096;
/// Longest name of a topic (Kafka: `Topic.MAX_NAME_LENGTH`).
pub(super) const MAX_NAME: usize = 249;

/// Names by id.
#[derive(Default, Debug)]
pub(super) struct TopicIds {
    names: HashMap<[u8; 16], Box<str>>,
}

impl TopicIds {
    pub(super) fn name(&self, id: &[u8; 16]) -> Option<&str> {
        self.names.get(id).map(|name| &**name)
    }

    fn learn(&mut self, id: [u8; 16], name: &str) {
        if name.is_empty() || name.len() > MAX_NAME || self.name(&id) == Some(name) {
            return;
        }
        if self.names.len() >= MAX_TOPICS {
            self.names.clear();
        }
        self.names.insert(id, name.into());
    }
}

/// Reads pairs of name and id out of a response.
#[derive(Debug)]
pub(super) struct Learner<'s, 'a> {
    ids: &'s mut TopicIds,
    name: Option<&'a str>,
    id: Option<[u8; 16]>,
    code: Option<i16>,
}

impl<'s> Learner<'s, '_> {
    pub(super) const fn new(ids: &'s mut TopicIds) -> Self {
        Self { ids, name: None, id: None, code: None }
    }

    /// The first error code of the response.
    pub(super) fn first_code(&self) -> i16 {
        self.code.unwrap_or(0)
    }

    fn settle(&mut self) {
        if let (Some(name), Some(id)) = (self.name.take(), self.id.take())
            && id != [0; 16]
        {
            self.ids.learn(id, name);
        }
    }
}

impl<'a> Sink<'a> for Learner<'_, 'a> {
    fn topic(&mut self, name: &'a str) {
        self.name = Some(name);
    }

    fn topic_id(&mut self, id: [u8; 16]) {
        self.id = Some(id);
    }

    fn error(&mut self, code: i16) -> bool {
        self.code.get_or_insert(code);
        false
    }

    fn close(&mut self, list: Role) {
        if list == Role::Each {
            self.settle();
        }
    }
}
