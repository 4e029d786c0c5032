//! Events on their way from a ring into the log, with what their messages say, in memory that is used again.

use crate::event::FlowEvent;
use std::ops::Range;

/// Some events, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub struct Drained {
    /// Each event, and where in `said` its message lies.
    events: Vec<(FlowEvent, Range<usize>)>,
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
        let from = self.said.len();
        self.said.extend_from_slice(said);
        self.events.push((event, from..self.said.len()));
    }

    /// Puts them in the order of their times, as where they come from several rings. What is of one time stays as it was.
    pub fn sort_by_time(&mut self) {
        self.events.sort_by_key(|(event, _)| event.at);
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.events.clear();
        self.said.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// They all.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&FlowEvent, &[u8])> {
        self.events.iter().map(|(event, place)| (event, self.said.get(place.clone()).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;
    use packet::Instant;

    #[test]
    fn sorted_by_time_each_keeps_what_it_said() {
        let mut some = Drained::default();
        for (at, said) in [(5, "five"), (7, ""), (3, "three"), (5, "also five")] {
            some.push(FlowEvent { at: Instant::from_nanos(at), ..event() }, said.as_bytes());
        }
        some.sort_by_time();
        let told: Vec<_> = some.iter().map(|(event, said)| (event.at.as_nanos(), said)).collect();
        let expected: [(u64, &[u8]); 4] = [(3, b"three"), (5, b"five"), (5, b"also five"), (7, b"")];
        assert_eq!(told, expected);
    }
}
