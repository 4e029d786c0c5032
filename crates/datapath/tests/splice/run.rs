//! Plays one schedule to its end, or says what went wrong.

use super::client::Client;
use super::link::Link;
use super::node::{self, CLIENT, GATEWAY_MAC, Node, Rules, SERVER};
use super::rng::Rng;
use super::schedule::Schedule;
use super::server::Server;
use super::stack::{Stack, TICK};
use super::watch::Watch;
use packet::Instant;
use std::hash::Hasher as _;
use std::time::Duration;

/// No conversation takes longer, whatever the weather was: smoltcp comes out of a loss with one segment for each
/// time-out, now and then, and the longest conversations have two thousand.
const PATIENCE: Duration = Duration::from_secs(7_200);
/// How long a finished connection is watched.
const AFTERMATH: Duration = Duration::from_secs(150);

/// What a schedule did.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Simulated time.
    pub took: Duration,
    /// Frames that left the worker.
    pub frames: u64,
    /// Of these frames, by the pod they left to.
    pub digest: [u64; 2],
    /// Whether a stack stopped repeating what its peer waits for, so that nobody can tell how it would have ended.
    pub stalled: bool,
}

/// A pod: stack, application's view of it, and the wires to and from the worker.
struct Pod {
    port: packet::PortId,
    stack: Stack,
    up: Link,
    down: Link,
    watch: Watch,
}

impl Pod {
    /// At most `most` frames that reached the worker; whether there were any.
    fn enter_node(&mut self, node: &mut Node, most: usize) -> bool {
        let mut entered = 0;
        while entered < most
            && let Some(frame) = self.up.arrived(node.now)
        {
            node.arrive(self.port, &frame);
            entered += 1;
        }
        entered > 0
    }

    /// Frames that left the worker; and those that reached the stack.
    fn leave_node(&mut self, node: &mut Node) -> Result<(), String> {
        for frame in node.sent(self.port) {
            self.watch.told(&frame)?;
            self.down.send(frame, node.now);
        }
        while let Some(frame) = self.down.arrived(node.now) {
            self.stack.arrive(frame);
        }
        Ok(())
    }

    /// Lets the stack work. Answers whether it sent something.
    fn work(&mut self, now: Instant) -> bool {
        let sent = self.stack.poll(now);
        let any = !sent.is_empty();
        for frame in sent {
            let frame = self.watch.sends(frame);
            self.up.send(frame, now);
        }
        any
    }

    fn wakes(&mut self, now: Instant) -> Option<Instant> {
        [self.up.next(), self.down.next(), self.stack.wakes(now)].into_iter().flatten().min()
    }
}

/// One conversation under way.
pub struct Run {
    node: Node,
    client: Client,
    server: Server,
    pods: [Pod; 2],
    started: Instant,
    burst: usize,
}

impl Run {
    pub fn new(schedule: &Schedule, rules: Rules) -> Self {
        let node = Node::new(rules, schedule.buffer_size);
        let now = node.now;
        let mut rng = Rng::new(schedule.links);
        let clears = now + schedule.storm;
        let [w0, w1, w2, w3] = schedule.weather;
        let mut link = |weather| Link::new(weather, rng.fork(), clears);
        let watch = |name, port| Watch::new(name, node::mac_of(port), GATEWAY_MAC);
        let script = &schedule.script;
        let mut client_stack = Stack::new(CLIENT, schedule.v6, &schedule.client_stack, now);
        let mut server_stack = Stack::new(SERVER, schedule.v6, &schedule.server_stack, now);
        server_stack.listen();
        client_stack.connect(SERVER);
        let client = Pod {
            port: CLIENT,
            stack: client_stack,
            up: link(w0),
            down: link(w3),
            watch: watch("client", CLIENT),
        };
        let server = Pod {
            port: SERVER,
            stack: server_stack,
            up: link(w2),
            down: link(w1),
            watch: watch("server", SERVER).expecting(script.allowed()).forbidding(script.markers(rules)),
        };
        Self {
            client: Client::new(schedule.client.clone(), script, now),
            server: Server::new(schedule.server.clone(), script, now),
            pods: [client, server],
            started: now,
            node,
            burst: 1,
        }
    }

    /// Frames of a pod that arrive at the same moment are one burst, of at most that many. Otherwise each is its own.
    pub fn in_bursts(self, burst: usize) -> Self {
        Self { burst, ..self }
    }

    /// The worker and its memory.
    pub fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Until both ends are done, and some time beyond.
    pub fn play(mut self) -> Result<Report, String> {
        self.play_on()
    }

    /// The same; the node can be looked at behind it.
    pub fn play_on(&mut self) -> Result<Report, String> {
        let deadline = self.started + PATIENCE;
        while !self.is_done() {
            if self.pods.iter_mut().any(|pod| pod.stack.is_stalled(self.node.now)) {
                return Ok(self.report(true));
            }
            if self.node.now >= deadline {
                return Err(format!("stuck: {}", self.progress()));
            }
            self.moment().map_err(|what| format!("{what}\n  {}", self.progress()))?;
            self.advance();
        }
        let report = self.report(false);
        self.aftermath().map_err(|what| format!("{what}\n  {}", self.progress()))?;
        Ok(report)
    }

    fn report(&self, stalled: bool) -> Report {
        let took = self.node.now.saturating_since(self.started);
        let frames = self.pods.iter().map(|pod| pod.watch.frames).sum();
        let digest = [0, 1].map(|i: usize| self.pods[i].watch.digest.finish());
        Report { took, frames, digest, stalled }
    }

    fn is_done(&self) -> bool {
        let over = self.pods.iter().all(|pod| pod.stack.is_over());
        self.client.is_done() && self.server.is_done() && over
    }

    fn progress(&self) -> String {
        let [client, server] = &self.pods;
        format!(
            "after {:?}: {:?}/{:?}, {} frames held\n  {}\n  {}\n  {:?}",
            self.node.now.saturating_since(self.started),
            client.stack.state(),
            server.stack.state(),
            self.node.outstanding(),
            self.client.progress(),
            self.server.progress(),
            drops(&self.node)
        )
    }

    /// Everything that happens at one instant.
    fn moment(&mut self) -> Result<(), String> {
        let Self { node, client, server, pods, burst, .. } = self;
        if pods[0].watch.trace {
            println!("at {:?}", node.now.saturating_since(self.started));
        }
        loop {
            loop {
                let mut any = false;
                for pod in pods.iter_mut() {
                    any |= pod.enter_node(node, *burst);
                }
                node.poll();
                for pod in pods.iter_mut() {
                    pod.leave_node(node)?;
                }
                if !any {
                    break;
                }
            }
            client.step(&mut pods[0].stack, node.now)?;
            server.step(&mut pods[1].stack, node.now)?;
            let mut busy = false;
            for pod in pods.iter_mut() {
                busy |= pod.work(node.now);
            }
            if !busy {
                return Ok(());
            }
        }
    }

    /// To the next instant at which something may happen.
    fn advance(&mut self) {
        let now = self.node.now;
        let mut next = now + TICK;
        let apps = [self.client.wakes(), self.server.wakes()];
        if let Some(due) = self.node.worker.next_timer() {
            next = next.min(due);
        }
        let pods: Vec<Instant> = self.pods.iter_mut().filter_map(|pod| pod.wakes(now)).collect();
        for time in apps.into_iter().chain(pods).filter(|time| *time > now) {
            next = next.min(time);
        }
        // What is due now was done; smoltcp sometimes asks to be woken at once and then does nothing.
        self.node.now = next.max(now + Duration::from_micros(1));
    }

    /// Both ends are gone; nothing may be left over.
    fn aftermath(&mut self) -> Result<(), String> {
        let until = self.node.now + AFTERMATH;
        while self.node.now < until {
            self.node.now = self.node.now + Duration::from_millis(250);
            self.node.poll();
            for pod in &mut self.pods {
                for frame in self.node.sent(pod.port) {
                    pod.watch.told(&frame)?;
                }
            }
        }
        if self.node.outstanding() != 0 || self.node.used_buffers() != 0 {
            return Err(format!("{} buffers are not free", self.node.used_buffers()));
        }
        Ok(())
    }
}

/// Drop reasons that were counted.
pub fn drops(node: &Node) -> Vec<(flowlog::DropReason, u64)> {
    let count = |reason: &flowlog::DropReason| (*reason, node.stats().dropped_for(*reason));
    flowlog::DropReason::ALL.iter().map(count).filter(|(_, n)| *n > 0).collect()
}
