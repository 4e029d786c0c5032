//! Events on their way from a ring into the log, with what their messages say, in memory that is used again.

use crate::event::FlowEvent;

/// Some events, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Each event, and where in `said` its message ends.
    events: Vec<(FlowEvent, usize)>,
    said: Vec<u8>,
}

impl Drained {
    /// Room for so many events.
    #[must_use]
    pub fn with_capacity(events: usize) -> Self {
        Self { events: Vec::with_capacity(events), said: Vec::new() }
    }

    /// Adds an event with what its message says, in the form that a ring has it.
    pub fn push(&mut self, event: FlowEvent, said: &[u8]) {
        self.said.extend_from_slice(said);
        self.events.push((event, self.said.len()));
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.events.clear();
        self.said.clear();
    }

    /// They all.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&FlowEvent, &[u8])> {
        let mut from = 0;
        self.events.iter().map(move |(event, to)| {
            let said = self.said.get(from..*to).unwrap_or_default();
            from = *to;
            (event, said)
        })
    }
}
