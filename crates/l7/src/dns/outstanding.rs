//! Questions that left and have no answer yet.

use super::message::Question;

/// How long a question is remembered: the longest that the resolver of the C library can be told to wait (`timeout:30`
/// in resolv.conf). What comes later has no question.
pub const QUESTION_LIFETIME_NS: u64 = 30_000_000_000;

/// The questions of one connection, oldest first. No heap while there are none.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    entries: Vec<Entry>,
}

/// One question.
#[derive(Debug)]
pub(crate) struct Entry {
    name: Box<str>,
    id: u16,
    qtype: u16,
    qclass: u16,
    asked: u64,
    /// When its answer came, which now waits.
    answered: Option<u64>,
}

impl Entry {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub(crate) const fn qtype(&self) -> u16 {
        self.qtype
    }

    /// Notes that its answer came at `now`, if it had not; answers how long that took.
    pub(crate) fn answer(&mut self, now: u64) -> u64 {
        self.answered.get_or_insert(now).saturating_sub(self.asked)
    }

    fn is(&self, id: u16, name: &str, question: Question) -> bool {
        self.id == id && self.qtype == question.qtype && self.qclass == question.qclass && *self.name == *name
    }

    fn lives(&self, now: u64) -> bool {
        self.answered.is_some() || now.saturating_sub(self.asked) < QUESTION_LIFETIME_NS
    }
}

impl Outstanding {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: u64) {
        if self.entries.first().is_some_and(|oldest| !oldest.lives(now)) {
            self.entries.retain(|entry| entry.lives(now));
        }
        self.free();
    }

    /// Whether this question is there.
    pub(crate) fn contains(&self, id: u16, name: &str, question: Question) -> bool {
        self.entries.iter().any(|entry| entry.is(id, name, question))
    }

    /// Adds this question, unless it is there.
    pub(crate) fn insert(&mut self, id: u16, name: &str, question: Question, now: u64) {
        if self.contains(id, name, question) {
            return;
        }
        let Question { qtype, qclass, .. } = question;
        self.entries.push(Entry { name: name.into(), id, qtype, qclass, asked: now, answered: None });
    }

    /// Forgets the oldest.
    pub(crate) fn pop_oldest(&mut self) {
        if !self.entries.is_empty() {
            self.entries.remove(0);
        }
    }

    /// Forgets this question, if it is there.
    pub(crate) fn forget(&mut self, id: u16, name: &str, question: Question) {
        self.entries.retain(|entry| !entry.is(id, name, question));
        self.free();
    }

    /// The place of the question that an answer fits.
    pub(crate) fn find(&self, id: u16, name: &str, question: Question, now: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.is(id, name, question) && entry.lives(now))
    }

    /// The place of the oldest question with this id.
    pub(crate) fn find_id(&self, id: u16, now: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == id && entry.lives(now))
    }

    /// The question at a place that was found.
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        self.entries.get_mut(place)
    }

    /// Forgets the question at a place that was found.
    pub(crate) fn remove(&mut self, place: usize) {
        if place < self.entries.len() {
            self.entries.remove(place);
        }
        self.free();
    }

    fn free(&mut self) {
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
    }
}
