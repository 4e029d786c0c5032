//! One direction of a wire that misbehaves for a while.

use super::rng::Rng;
use packet::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// How bad it is.
#[derive(Copy, Clone, Debug)]
pub struct Weather {
    /// Percent of frames that get lost.
    pub loss: u32,
    /// Percent that arrive twice, the second time after up to ten times the jitter.
    pub double: u32,
    /// Every frame takes that long.
    pub delay: Duration,
    /// Up to that much longer, each frame on its own: reorders.
    pub jitter: Duration,
}

impl Weather {
    pub const FAIR: Self =
        Self { loss: 0, double: 0, delay: Duration::from_micros(20), jitter: Duration::ZERO };

    pub fn random(rng: &mut Rng) -> Self {
        if rng.percent(25) {
            return Self::FAIR;
        }
        Self {
            loss: rng.pick(&[0, 0, 2, 5, 10, 20]),
            double: rng.pick(&[0, 0, 5, 20]),
            delay: Duration::from_micros(rng.pick(&[10, 100, 2_000, 20_000])),
            jitter: Duration::from_micros(rng.pick(&[0, 50, 1_000, 10_000, 60_000])),
        }
    }
}

/// Frames on their way.
pub struct Link {
    weather: Weather,
    rng: Rng,
    /// From then on it is fair, so that every schedule ends.
    clears: Instant,
    sent: u64,
    flying: BTreeMap<(Instant, u64), Vec<u8>>,
}

impl Link {
    pub fn new(weather: Weather, rng: Rng, clears: Instant) -> Self {
        Self { weather, rng, clears, sent: 0, flying: BTreeMap::new() }
    }

    pub fn send(&mut self, frame: Vec<u8>, now: Instant) {
        let weather = if now < self.clears { self.weather } else { Weather::FAIR };
        if self.rng.percent(weather.loss) {
            return;
        }
        if self.rng.percent(weather.double) {
            let late = self.jitter(weather.jitter * 10);
            self.put(frame.clone(), now + weather.delay + late);
        }
        let jitter = self.jitter(weather.jitter);
        self.put(frame, now + weather.delay + jitter);
    }

    fn jitter(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.rng.below(most.as_nanos() as usize + 1) as u64)
    }

    fn put(&mut self, frame: Vec<u8>, due: Instant) {
        self.sent += 1;
        self.flying.insert((due, self.sent), frame);
    }

    /// The next frame that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        let first = self.flying.first_entry()?;
        if first.key().0 > now { None } else { Some(first.remove()) }
    }

    /// When the next frame arrives.
    pub fn next(&self) -> Option<Instant> {
        self.flying.keys().next().map(|(due, _)| *due)
    }

    /// Forgets all that is under way.
    pub fn clear(&mut self) {
        self.flying.clear();
    }
}
