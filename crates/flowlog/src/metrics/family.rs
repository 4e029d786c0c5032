//! One metric: its series, how many of them there may be, and what became of the rest.

use super::contexts::Contexts;
use super::exposition::{Exemplar, Kind, Page};
use foldhash::fast::RandomState;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The most labels that a metric has of its own, besides those of its contexts.
const OWN: usize = 4;

/// Series that are found without hashing: as many as the flags and kinds of a short connection's events.
const RECENT: usize = 4;

/// Upper bounds of latencies in nanoseconds: Prometheus' usual ones, which Hubble uses too.
const BOUNDS_NS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What a label says.
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "it compares contents as a derived one would, only sooner"
)]
#[derive(Clone, Eq, Hash, Debug, Default)]
pub(super) enum Value {
    /// Nothing.
    #[default]
    Empty,
    /// A word of ours.
    Word(&'static str),
    /// A number.
    Number(u32),
    /// Words from the network, of which there is a fixed number.
    Text(Arc<str>),
}

impl PartialEq for Value {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Empty, Self::Empty) => true,
            // Mostly the very same word.
            (Self::Word(a), Self::Word(b)) => std::ptr::eq(*a, *b) || a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

impl Value {
    fn with<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Empty => f(""),
            Self::Word(word) => f(word),
            Self::Number(number) => f(&number.to_string()),
            Self::Text(text) => f(text),
        }
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

/// Names a series: who (a number of the plugin's contexts) and what.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Key {
    context: u32,
    values: [Value; OWN],
}

/// What a series holds.
pub(super) trait Cell: Default + Clone {
    /// Kind of the metric.
    const KIND: Kind;
    /// Writes one series.
    fn write(&self, page: &mut Page, labels: &[(&str, &str)]);
}

/// A counter, with the last trace that it counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    n: u64,
    exemplar: Option<Exemplar>,
}

impl Cell for Count {
    const KIND: Kind = Kind::Counter;

    fn write(&self, page: &mut Page, labels: &[(&str, &str)]) {
        page.exemplified(labels, self.n, self.exemplar.as_ref());
    }
}

/// Latencies.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency {
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u128,
    /// The last trace of each bucket, where there are any.
    exemplars: Option<Box<[Option<Exemplar>; BOUNDS_NS.len() + 1]>>,
}

impl Cell for Latency {
    const KIND: Kind = Kind::Histogram;

    fn write(&self, page: &mut Page, labels: &[(&str, &str)]) {
        let exemplar = |at: usize| self.exemplars.as_ref().and_then(|all| all.get(at)?.as_ref());
        let mut upto = 0;
        let buckets = BOUNDS_NS.iter().zip(self.counts).enumerate().map(|(at, (bound, count))| {
            upto += count;
            (*bound as f64 / 1e9, upto, exemplar(at))
        });
        let count = self.counts.iter().sum();
        page.histogram(labels, buckets, (count, exemplar(BOUNDS_NS.len())), self.sum_ns as f64 / 1e9);
    }
}

/// One metric.
#[derive(Clone, Debug)]
pub(super) struct Family<C> {
    name: &'static str,
    help: &'static str,
    labels: Vec<&'static str>,
    /// Where in `cells` a series is.
    series: HashMap<Key, usize, RandomState>,
    cells: Vec<C>,
    /// Series that were counted not long ago: events come in runs and in turns (a connection's begin and end, a request
    /// and its response), and comparing costs less than hashing.
    recent: [Option<(Key, usize)>; RECENT],
    /// Which of them gives way next.
    turn: usize,
    most: usize,
    overflow: u64,
}

impl<C: Cell> Family<C> {
    /// `labels` are its own, in the order in which values are given.
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        labels: impl IntoIterator<Item = &'static str>,
        most: usize,
    ) -> Self {
        let labels: Vec<_> = labels.into_iter().take(OWN).collect();
        let (series, cells) = (HashMap::default(), Vec::new());
        Self { name, help, labels, series, cells, recent: Default::default(), turn: 0, most, overflow: 0 }
    }

    /// The series of these values; `None` where there is none yet and no room for another, which is counted.
    /// `context` is `None` where even that has no room.
    fn at<const N: usize>(&mut self, context: Option<u32>, values: [Value; N]) -> Option<&mut C> {
        const { assert!(N <= OWN) };
        let Some(context) = context else {
            self.overflow += 1;
            return None;
        };
        let same = |known: &Key| {
            let (ours, rest) = known.values.split_at(N);
            known.context == context && *ours == values && rest.iter().all(|value| *value == Value::Empty)
        };
        if let Some((_, at)) = self.recent.iter().flatten().find(|(known, _)| same(known)) {
            return self.cells.get_mut(*at);
        }
        let mut key = Key { context, values: [const { Value::Empty }; OWN] };
        for (slot, value) in key.values.iter_mut().zip(values) {
            *slot = value;
        }
        let at = match self.series.get(&key) {
            Some(at) => *at,
            None if self.cells.len() >= self.most => {
                self.overflow += 1;
                return None;
            }
            None => {
                self.cells.push(C::default());
                self.series.insert(key.clone(), self.cells.len() - 1);
                self.cells.len() - 1
            }
        };
        self.recent[self.turn] = Some((key, at));
        self.turn = (self.turn + 1) % RECENT;
        self.cells.get_mut(at)
    }

    /// Forgets the series of these contexts.
    pub(super) fn forget(&mut self, contexts: &HashSet<u32>) {
        self.recent = Default::default();
        let mut cells = Vec::new();
        self.series.retain(|key, at| {
            let cell = self.cells.get_mut(*at).filter(|_| !contexts.contains(&key.context));
            cell.is_some_and(|cell| {
                *at = cells.len();
                cells.push(std::mem::take(cell));
                true
            })
        });
        self.cells = cells;
    }

    /// Its name, its series, and how often there was no room for another.
    pub(super) fn fill(&self) -> (&'static str, usize, u64) {
        (self.name, self.series.len(), self.overflow)
    }

    /// Writes it, labels and series in order.
    pub(super) fn write(&self, page: &mut Page, contexts: &Contexts) {
        page.head(self.name, C::KIND, self.help);
        let names: Vec<&str> = contexts.names().iter().chain(&self.labels).copied().collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|at| names.get(*at));
        let mut rows: Vec<(Vec<String>, &C)> = Vec::with_capacity(self.series.len());
        for (key, at) in &self.series {
            let Some(cell) = self.cells.get(*at) else { continue };
            let mut values: Vec<String> = contexts.values(key.context).map(str::to_owned).collect();
            values.extend(key.values.iter().take(self.labels.len()).map(|value| value.with(str::to_owned)));
            rows.push((order.iter().map(|at| std::mem::take(&mut values[*at])).collect(), cell));
        }
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (values, cell) in rows {
            let labels: Vec<(&str, &str)> =
                order.iter().map(|at| names[*at]).zip(values.iter().map(String::as_str)).collect();
            cell.write(page, &labels);
        }
    }
}

impl Family<Count> {
    /// Counts one.
    #[inline]
    pub(super) fn add<const N: usize>(&mut self, context: Option<u32>, values: [Value; N]) {
        self.add_traced(context, values, None);
    }

    /// Counts one that belongs to a trace.
    pub(super) fn add_traced<const N: usize>(
        &mut self,
        context: Option<u32>,
        values: [Value; N],
        exemplar: Option<&Exemplar>,
    ) {
        if let Some(count) = self.at(context, values) {
            count.n += 1;
            if let Some(exemplar) = exemplar {
                count.exemplar = Some(Exemplar { value: 1.0, ..exemplar.clone() });
            }
        }
    }
}

impl Family<Latency> {
    /// Adds an observation.
    pub(super) fn observe<const N: usize>(
        &mut self,
        context: Option<u32>,
        values: [Value; N],
        ns: u64,
        exemplar: Option<&Exemplar>,
    ) {
        let Some(latency) = self.at(context, values) else { return };
        let bucket = BOUNDS_NS.iter().position(|bound| ns <= *bound).unwrap_or(BOUNDS_NS.len());
        latency.counts[bucket] += 1;
        latency.sum_ns += u128::from(ns);
        if let Some(exemplar) = exemplar {
            let all = latency.exemplars.get_or_insert_default();
            all[bucket] = Some(exemplar.clone());
        }
    }
}

/// Words from the network that are counted by name: the first so many that are seen. The rest is `other`.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    known: HashSet<Arc<str>, RandomState>,
    most: usize,
}

impl Texts {
    pub(super) fn new(most: usize) -> Self {
        Self { known: HashSet::default(), most }
    }

    pub(super) fn value(&mut self, text: &str) -> Value {
        if let Some(known) = self.known.get(text) {
            return Value::Text(Arc::clone(known));
        }
        if self.known.len() >= self.most {
            return Value::Word(super::OTHER);
        }
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text));
        Value::Text(text)
    }
}
