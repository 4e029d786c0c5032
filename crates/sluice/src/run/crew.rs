//! Starts the workers: one thread each, with its own sockets' memory, event ring and place in the fleet.

use super::bell::{Bell, Reason};
use super::clock::Clock;
use super::worker::{self, Thread};
use super::{EVENT_RING, fqdn};
use crate::api::flows::Help;
use crate::config::Config;
use afxdp::XskIo;
use anyhow::Result;
use datapath::fleet::{self, Fleet, Mover, PortOwners};
use datapath::learn::{self, LearnReader};
use datapath::{DatapathConfig, SharedSnapshot};
use flowlog::EventReader;
use flowlog::ring::EventRing;
use std::sync::{Arc, OnceLock};

/// Bytes of the rings between workers, all together; each has a share within these bounds. Pages that no frame reached are
/// not taken.
const RINGS: usize = 64 << 20;
const RING: (usize, usize) = (128 << 10, 1 << 20);

/// The workers, and the other ends of what they write.
pub struct Crew {
    /// The threads, in the order of their numbers.
    pub threads: Vec<Thread>,
    /// What they say, a ring from each.
    pub events: Vec<EventReader>,
    /// What they do for the flow log when no frame comes; to be said once it is there.
    pub help: Arc<OnceLock<Help>>,
    /// DNS answers that they saw.
    pub learnt: LearnReader,
    /// Where they look up whose a port is.
    pub owners: PortOwners,
    /// Moves their buckets.
    pub mover: Mover,
}

/// Starts a worker over each of `backends`. What is limited for the node is divided among them.
///
/// # Errors
/// When a thread cannot be made.
pub fn start(
    config: &Config,
    settings: DatapathConfig,
    backends: Vec<XskIo>,
    snapshot: &SharedSnapshot,
    clock: Clock,
    hold: bool,
    bell: &Bell,
) -> Result<Crew> {
    let (count, seed) = (backends.len(), worker::seed());
    let several = count > 1;
    let settings = if several { fleet::share_of(&settings, count) } else { settings };
    let rings = 2 * count * count.saturating_sub(1).max(1);
    let ring_bytes = (RINGS / rings).clamp(RING.0, RING.1);
    let Fleet { seats, owners, mover, .. } =
        Fleet::new(fleet::Setup { workers: count, ring_bytes, seed, ..fleet::Setup::default() });
    let (learners, learnt) = learn::channels(count, fqdn::RING);
    let help = Arc::default();
    let mut crew = Crew { threads: Vec::new(), events: Vec::new(), help, learnt, owners, mover };
    for (number, ((io, seat), learn)) in backends.into_iter().zip(seats).zip(learners).enumerate() {
        let (mut events, reader) = EventRing::new(EVENT_RING);
        if !config.flow_log.enabled {
            events.switch_off();
        }
        let (asked, ended) = (bell.clone(), bell.clone());
        let setup = worker::Setup {
            number,
            // Whoever is alone hands nothing over and need not look.
            seat: several.then_some(seat),
            seed,
            io,
            config: settings.clone(),
            snapshot: Arc::clone(snapshot),
            events,
            polling: config.datapath.polling,
            cpu: config.datapath.cpu.get(number).copied(),
            clock,
            learn: learn.waking(move || {
                asked.ring(Reason::Learnt);
            }),
            help: Arc::clone(&crew.help),
            hold,
        };
        crew.threads.push(worker::start(setup, move || {
            ended.ring(Reason::WorkerEnded);
        })?);
        crew.events.push(reader);
    }
    Ok(crew)
}
