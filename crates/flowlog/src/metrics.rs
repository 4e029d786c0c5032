//! Hubble's metrics: counters with its names and labels, made of events on the thread that empties the ring.
//!
//! ```text
//!   event ─▶ Seen (what every plugin asks) ─▶ plugin ─▶ context (who) + values (what) ─▶ series
//! ```
//!
//! Nothing here waits or reads a clock. Without context options an event is counted without asking for names; with
//! them each pair of peers is resolved once. Series, contexts and words from the network are bounded, and what finds
//! no room is counted as such.

pub mod config;
mod contexts;
pub mod exposition;
mod family;
mod messages;
mod plugins;
mod words;

pub use config::{ConfigError, Dynamic, MetricsConfig};
pub use contexts::PodName;
pub use exposition::{Exemplar, Format, Kind, Page};

use crate::detail::Message;
use crate::event::{CloseReason, EventKind, FlowEvent};
use crate::record::{Resolver, TrafficDirection, Verdict, seen_from};
use packet::Instant;
use packet::packet::proto;
use plugins::Plugin;

/// What a label says where the value is not one that is counted by itself.
const OTHER: &str = "other";

/// The protocol of bytes that are no message.
const UNKNOWN_L7: &str = "Unknown L7";

/// Series of one metric at most, unless told otherwise.
pub const DEFAULT_MAX_SERIES: usize = 10_000;

/// An event as plugins see it.
struct Seen<'a> {
    event: &'a FlowEvent,
    message: Option<&'a Message<'a>>,
    verdict: Verdict,
    protocol: &'static str,
    direction: TrafficDirection,
}

impl<'a> Seen<'a> {
    fn new(event: &'a FlowEvent, message: Option<&'a Message<'a>>) -> Self {
        let decided = |direction: Option<policy::Direction>| {
            direction.map_or_else(|| seen_from(event), TrafficDirection::from)
        };
        let (verdict, direction) = match event.kind {
            EventKind::Verdict { verdict, direction, .. } => (plugins::shown(verdict), direction.into()),
            EventKind::Trace { .. } => (Verdict::Forwarded, seen_from(event)),
            EventKind::Drop { direction, .. } => (Verdict::Dropped, decided(direction)),
            EventKind::Message { verdict, direction, .. } => (verdict.into(), decided(direction)),
            EventKind::Close { reason: CloseReason::Revoked, .. } => (Verdict::Dropped, seen_from(event)),
            EventKind::Close { .. } => (Verdict::Traced, seen_from(event)),
        };
        let protocol = match (event.kind, event.key.proto) {
            (EventKind::Message { .. }, _) => messages::protocol(message),
            (_, proto::TCP) => "TCP",
            (_, proto::UDP) => "UDP",
            (_, proto::SCTP) => "SCTP",
            (_, proto::ICMP) => "ICMPv4",
            (_, proto::ICMPV6) => "ICMPv6",
            _ => "Unknown flow",
        };
        Self { event, message, verdict, protocol, direction }
    }
}

/// The metrics of one node's flows.
#[derive(Clone, Debug)]
pub struct Metrics {
    plugins: Vec<Plugin>,
    most: usize,
    lost: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&MetricsConfig::default(), DEFAULT_MAX_SERIES)
    }
}

impl Metrics {
    /// Nothing counted yet. Each metric has at most `most` series.
    #[must_use]
    pub fn new(config: &MetricsConfig, most: usize) -> Self {
        let plugins = config.0.iter().filter_map(|plugin| Plugin::new(plugin, most)).collect();
        Self { plugins, most, lost: 0 }
    }

    /// Changes what is counted. A plugin whose options stay goes on from where it is, unless the limit changes.
    pub fn reconfigure(&mut self, config: &MetricsConfig, most: usize) {
        if most != self.most {
            *self = Self { lost: self.lost, ..Self::new(config, most) };
            return;
        }
        let old = std::mem::take(&mut self.plugins);
        let mut old: Vec<Option<Plugin>> = old.into_iter().map(Some).collect();
        for wanted in &config.0 {
            let kept =
                old.iter_mut().find(|slot| slot.as_ref().is_some_and(|plugin| plugin.config == *wanted));
            self.plugins.extend(kept.and_then(Option::take).or_else(|| Plugin::new(wanted, self.most)));
        }
    }

    /// Counts one event, with what its message says if it is one.
    pub fn count(&mut self, event: &FlowEvent, message: Option<&Message<'_>>, names: &dyn Resolver) {
        let seen = Seen::new(event, message);
        for plugin in &mut self.plugins {
            plugin.count(&seen, names);
        }
    }

    /// Sets how many events were shed before they came here.
    pub fn set_lost(&mut self, events: u64) {
        self.lost = events;
    }

    /// Names changed: from now on [`count`](Self::count) is given others.
    pub fn renamed(&mut self) {
        self.plugins.iter_mut().for_each(Plugin::renamed);
    }

    /// Whether any series names a pod, so that [`sweep`](Self::sweep) has something to do.
    #[must_use]
    pub fn names_pods(&self) -> bool {
        self.plugins.iter().any(Plugin::names_pods)
    }

    /// Removes the series of pods that went away a minute ago. To be called every few seconds.
    pub fn sweep(&mut self, now: Instant, is_there: &dyn Fn(&PodName) -> bool) {
        for plugin in &mut self.plugins {
            plugin.sweep(now, is_there);
        }
    }

    /// Writes them all.
    pub fn write(&self, page: &mut Page) {
        for plugin in &self.plugins {
            plugin.write(page);
        }
        page.head("hubble_lost_events_total", Kind::Counter, "Events that never became records.");
        page.value(&[("source", "perf_event_ring_buffer")], self.lost);
        let fill: Vec<_> = self.plugins.iter().flat_map(Plugin::fill).collect();
        page.head("sluice_metrics_series", Kind::Gauge, "Series of a metric about flows.");
        for (metric, series, _) in &fill {
            page.value(&[("metric", metric)], series);
        }
        page.one(
            "sluice_metrics_series_max",
            Kind::Gauge,
            "Most series of one metric about flows.",
            self.most,
        );
        let help = "Events that a metric left out because it has its most series.";
        page.head("sluice_metrics_overflow_total", Kind::Counter, help);
        for (metric, _, overflow) in &fill {
            page.value(&[("metric", metric)], overflow);
        }
    }

    /// They all as a page of their own.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = Page::default();
        self.write(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests;
