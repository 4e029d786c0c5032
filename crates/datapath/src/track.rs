//! Stages 4 and 5: the connection a packet belongs to, and whether policy (still) allows it.
//!
//! The slow path computes, the fast path replays, the epoch invalidates: a connection carries the verdict of the
//! snapshot that judged it, and is judged again the first time a packet meets it under another one.

use crate::config::MidStream;
use crate::conntrack::{Conn, ConnId, NewConn, Progress, State};
use crate::events::{self, About};
use crate::inspect::{self, Plan};
use crate::judge::{Judgement, Parties, Refusal, judge, parties, policy_port, policy_port_of};
use crate::pipeline::Pipeline;
use crate::ports::Port;
use crate::snapshot::Snapshot;
use crate::splice::Splice;
use flowlog::{CloseReason, DropReason, TraceReason};
use l7::Anomaly;
use packet::{FlowKey, Instant, L4, Leg, Packet, PortId};

/// Why a tracked packet does not go on, with all that the flow log wants to know.
#[derive(Copy, Clone, Debug)]
pub struct Dropped {
    /// The reason.
    pub reason: DropReason,
    /// Policy's answer, where policy refused.
    pub refusal: Option<Refusal>,
    /// Both ends, where they were found out.
    pub parties: Option<Parties>,
    /// Whether the packet goes against its connection's first one.
    pub is_reply: bool,
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        Self { reason, refusal: None, parties: None, is_reply: false }
    }
}

/// Where a tracked packet goes.
#[derive(Copy, Clone, Debug)]
pub enum Tracked {
    /// On, by that port.
    Forward(PortId),
    /// To the inspection of its connection.
    Inspect {
        /// The connection.
        id: ConnId,
        /// The packet's leg.
        leg: Leg,
    },
}

impl Pipeline {
    /// The port by which a packet leaves of which there is no more to say: its connection flows, was judged by this very
    /// snapshot, and is not inspected. `None`, and nothing done: [`track`](Self::track) sees to it.
    #[inline(always)]
    pub(crate) fn flows_on(
        &mut self,
        packet: &Packet,
        id: ConnId,
        leg: Leg,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Option<PortId> {
        let conn = self.conntrack.get(id);
        let out = conn.port_towards(leg);
        let judged = conn.verdict.epoch == snapshot.epoch && !conn.revoked();
        let plain = judged
            && conn.port_towards(leg.opposite()) == port.id
            && conn.verdict.inspection == inspect::NONE
            && packet.fragment.is_none();
        // Nothing of it is worth a line: what flows is no first reply, and begins and ends nothing.
        (plain && self.conntrack.flows(id, leg, packet, now)).then_some(out)
    }

    /// Finds or creates the packet's connection and answers the port it leaves by. `found` is the connection of its `flow`, or
    /// of the one that an ICMP error is about.
    #[inline(never)]
    pub(crate) fn track(
        &mut self,
        packet: &Packet,
        flow: Option<&(FlowKey, u64)>,
        found: Option<(ConnId, Leg)>,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<Tracked, Dropped> {
        if packet.is_icmp_error() {
            let (id, leg) = found.ok_or(DropReason::UnrelatedIcmp)?;
            return self.related(packet, id, leg, port, snapshot, now);
        }
        let (key, hash, found) = match flow {
            Some(&(key, hash)) => (key, hash, found),
            None => {
                let key = self.fragments.later(packet, now)?;
                let hash = self.conntrack.hash(&key);
                (key, hash, self.conntrack.lookup(&key, hash))
            }
        };
        match found {
            Some((id, leg)) => self.known(packet, id, leg, port, snapshot, now),
            None => self.new_connection(packet, key, hash, port, snapshot, now),
        }
    }

    #[inline(always)]
    fn known(
        &mut self,
        packet: &Packet,
        id: ConnId,
        leg: Leg,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<Tracked, Dropped> {
        let conn = self.conntrack.get(id);
        if conn.port_towards(leg.opposite()) != port.id {
            return Err(DropReason::InvalidSource.into());
        }
        let inspected = conn.verdict.inspection != inspect::NONE;
        if inspected && leg == Leg::Original && self.is_closing(id) {
            return Ok(Tracked::Inspect { id, leg });
        }
        if conn.revoked() || conn.verdict.epoch != snapshot.epoch {
            if self.opens_anew(id, leg, packet) {
                return self.reopen(packet, id, port, snapshot, now);
            }
            self.up_to_date(id, snapshot, now)
                .map_err(|dropped| Dropped { is_reply: leg == Leg::Reply, ..dropped })?;
        }
        let first_reply = leg == Leg::Reply && !self.conntrack.get(id).replied();
        let canonical;
        let packet = if inspected {
            canonical = self.canonical(id, leg, packet);
            canonical.as_ref().unwrap_or(packet)
        } else {
            packet
        };
        match self.conntrack.advance(id, leg, packet, now)? {
            Progress::Continue => {}
            Progress::Reopen if inspected && self.is_own_syn(id, leg, packet) => {
                // A late copy of the SYN that opened this connection opens no other (RFC 9293 §3.10.7.4).
                return Err(DropReason::InvalidTcpState.into());
            }
            Progress::Reopen => return self.reopen(packet, id, port, snapshot, now),
        }
        self.remember_fragment(packet, now)?;
        let worth_a_line = first_reply
            || matches!(packet.l4_header, L4::Tcp(tcp) if tcp.flags.0 & events::FLAGS_OF_INTEREST != 0);
        if worth_a_line {
            self.tell(packet, id, leg, snapshot, now);
        }
        let conn = self.conntrack.get(id);
        if conn.verdict.inspection != inspect::NONE {
            return Ok(Tracked::Inspect { id, leg });
        }
        Ok(Tracked::Forward(conn.port_towards(leg)))
    }

    /// Says that a known connection was answered, or what became of it.
    #[inline(never)]
    fn tell(&mut self, packet: &Packet, id: ConnId, leg: Leg, snapshot: &Snapshot, now: Instant) {
        let reason = if leg == Leg::Reply { TraceReason::Reply } else { TraceReason::Established };
        let about = About::of_conn(packet, self.conntrack.get(id), leg, snapshot, now);
        self.events.record(about.trace(reason));
    }

    /// Whether a SYN comes on the ports of a connection that is over, or that policy took back: clients take such ports again.
    /// The server may know nothing of that end yet; then it answers with no SYN, and a splice lets no byte pass without one.
    #[inline(never)]
    fn opens_anew(&self, id: ConnId, leg: Leg, packet: &Packet) -> bool {
        let L4::Tcp(tcp) = packet.l4_header else { return false };
        let begins = tcp.flags.syn() && !tcp.flags.ack() && !tcp.flags.rst();
        let conn = self.conntrack.get(id);
        let over = matches!(conn.state(), State::Closing | State::TimeWait | State::Reset);
        begins && (over || conn.revoked()) && !self.is_own_syn(id, leg, packet)
    }

    /// A new connection on old ports: the old one ends, and policy is asked again. A tombstone stays where policy refuses, so
    /// policy is asked before it goes, too.
    #[inline(never)]
    fn reopen(
        &mut self,
        packet: &Packet,
        id: ConnId,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<Tracked, Dropped> {
        let key = packet.flow_key().ok_or(DropReason::InvalidTcpState)?;
        if self.conntrack.get(id).revoked() {
            let parties = parties(key.src, key.dst, snapshot)?;
            let judgement = judge(&key, policy_port(packet), &parties, snapshot);
            planned(&judgement, &key, &parties, snapshot)?;
        }
        let hash = self.conntrack.hash(&key);
        self.close(id, CloseReason::Finished, now);
        self.new_connection(packet, key, hash, port, snapshot, now)
    }

    #[inline(never)]
    fn new_connection(
        &mut self,
        packet: &Packet,
        key: FlowKey,
        hash: u64,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<Tracked, Dropped> {
        let parties = parties(key.src, key.dst, snapshot)?;
        if parties.src.port != port.id {
            return Err(DropReason::InvalidSource.into());
        }
        let judgement = judge(&key, policy_port(packet), &parties, snapshot);
        let plan = planned(&judgement, &key, &parties, snapshot)?;
        let begins = !matches!(packet.l4_header, L4::Tcp(tcp) if !tcp.flags.syn());
        let enforced = plan.is_some_and(|plan| plan.rules.refuse(snapshot));
        if enforced && !begins && self.config.l7.mid_stream == MidStream::Reset {
            return Err(Dropped { parties: Some(parties), ..DropReason::L7(Anomaly::MidStream).into() });
        }
        let adopt = self.adopt_until.is_some_and(|until| now < until);
        let new = NewConn {
            key,
            hash,
            in_port: parties.src.port,
            out_port: parties.dst.port,
            src_identity: parties.src.identity,
            dst_identity: parties.dst.identity,
            src_endpoint: parties.src.endpoint,
            dst_endpoint: parties.dst.endpoint,
            adopt,
        };
        let Self { conntrack, events, stats, .. } = self;
        let id = conntrack
            .create(new, packet, now, &mut |conn, reason| {
                stats.connections_closed += 1;
                events.record(events::closed(conn, reason, now));
            })
            .map_err(|reason| Dropped { parties: Some(parties), ..reason.into() })?;
        stats.connections_opened += 1;
        remember(conntrack.get_mut(id), &judgement, snapshot.epoch);
        if let Some(plan) = plan.filter(|_| begins)
            && let Err(reason) = self.begin_inspection(id, plan)
        {
            self.close(id, CloseReason::Evicted, now);
            return Err(Dropped { parties: Some(parties), ..reason.into() });
        }
        self.remember_fragment(packet, now)?;
        let about = About::of_parties(packet, &parties, snapshot, now);
        for event in about.verdicts(&judgement, TraceReason::New) {
            self.events.record(event);
        }
        if self.conntrack.get(id).verdict.inspection != inspect::NONE {
            return Ok(Tracked::Inspect { id, leg: Leg::Original });
        }
        Ok(Tracked::Forward(parties.dst.port))
    }

    /// An ICMP error goes to the sender of the packet it is about, if that packet's flow is known and the error
    /// comes from where that packet went.
    #[inline(never)]
    fn related(
        &mut self,
        packet: &Packet,
        id: ConnId,
        leg: Leg,
        port: &Port,
        snapshot: &Snapshot,
        now: Instant,
    ) -> Result<Tracked, Dropped> {
        let conn = self.conntrack.get(id);
        let about = match leg {
            Leg::Original => conn.key.src,
            Leg::Reply => conn.key.dst,
        };
        if packet.dst != about || conn.port_towards(leg) != port.id {
            return Err(DropReason::UnrelatedIcmp.into());
        }
        if conn.revoked() || conn.verdict.epoch != snapshot.epoch {
            self.up_to_date(id, snapshot, now)?;
        }
        let conn = self.conntrack.get(id);
        self.events
            .record(About::of_conn(packet, conn, leg.opposite(), snapshot, now).trace(TraceReason::Related));
        Ok(Tracked::Forward(conn.port_towards(leg.opposite())))
    }

    /// The connection under the policy of now; `Err` where that took it back.
    #[inline(never)]
    fn up_to_date(&mut self, id: ConnId, snapshot: &Snapshot, now: Instant) -> Result<(), Dropped> {
        if self.conntrack.get(id).revoked() {
            return Err(DropReason::Revoked.into());
        }
        self.rejudge(id, snapshot, now)
    }

    /// Asks policy again about a live connection. A revoked one stays as a tombstone, so that what both ends still
    /// send is answered and not taken for something new.
    #[inline(never)]
    pub(crate) fn rejudge(&mut self, id: ConnId, snapshot: &Snapshot, now: Instant) -> Result<(), Dropped> {
        self.stats.rejudged += 1;
        let conn = self.conntrack.get(id);
        let key = conn.key;
        let found = parties(key.src, key.dst, snapshot).and_then(|parties| {
            let moved = parties.src.port != conn.in_port || parties.dst.port != conn.out_port;
            if moved { Err(DropReason::PortGone) } else { Ok(parties) }
        });
        let parties = match found {
            Ok(parties) => parties,
            Err(reason) => {
                self.close(id, CloseReason::PortGone, now);
                return Err(reason.into());
            }
        };
        let judgement = judge(&key, policy_port_of(&key), &parties, snapshot);
        let refused = match planned(&judgement, &key, &parties, snapshot) {
            Ok(plan) => match self.replan(id, plan, snapshot) {
                Ok(()) => {
                    let conn = self.conntrack.get_mut(id);
                    conn.src_identity = parties.src.identity;
                    conn.dst_identity = parties.dst.identity;
                    remember(conn, &judgement, snapshot.epoch);
                    return Ok(());
                }
                Err(anomaly) => Dropped { parties: Some(parties), ..DropReason::L7(anomaly).into() },
            },
            Err(refused) => refused,
        };
        self.revoke(id, now);
        Err(Dropped { reason: DropReason::Revoked, ..refused })
    }

    /// Whether the connection is over, though one end is still being told.
    #[inline(never)]
    fn is_closing(&self, id: ConnId) -> bool {
        let slot = self.conntrack.get(id).verdict.inspection;
        self.inspections.splice(slot).is_some_and(Splice::is_closing)
    }

    /// Whether this is the SYN that opened the inspected connection.
    fn is_own_syn(&self, id: ConnId, leg: Leg, packet: &Packet) -> bool {
        let splice = self.inspections.splice(self.conntrack.get(id).verdict.inspection);
        matches!((splice, packet.l4_header), (Some(splice), L4::Tcp(tcp))
            if splice.is_own_syn(inspect::side_of(leg), &tcp))
    }

    /// A segment as the connection table is to see it, which knows nothing of what was put in, swallowed or taken over.
    /// `None`: as it is.
    #[inline(never)]
    fn canonical(&mut self, id: ConnId, leg: Leg, packet: &Packet) -> Option<Packet> {
        let splice = self.inspections.splice(self.conntrack.get(id).verdict.inspection)?;
        let L4::Tcp(tcp) = packet.l4_header else { return None };
        let side = inspect::side_of(leg);
        if let Some(edge) = splice.offered(side) {
            self.conntrack.widen(id, leg, edge);
        }
        splice.canonical(side, &tcp).map(|tcp| Packet { l4_header: L4::Tcp(tcp), ..*packet })
    }

    fn revoke(&mut self, id: ConnId, now: Instant) {
        self.stats.connections_closed += 1;
        let conn = self.conntrack.get(id);
        self.events.record(events::closed(conn, CloseReason::Revoked, now));
        self.conntrack.revoke(id, now);
    }

    /// Removes a connection and says so.
    pub(crate) fn close(&mut self, id: ConnId, reason: CloseReason, now: Instant) {
        let Self { conntrack, events, stats, .. } = self;
        conntrack.remove(id, reason, &mut |conn, reason| {
            stats.connections_closed += 1;
            events.record(events::closed(conn, reason, now));
        });
    }

    /// After the first fragment was allowed, the later ones may follow it.
    #[inline]
    fn remember_fragment(&mut self, packet: &Packet, now: Instant) -> Result<(), DropReason> {
        if packet.fragment.is_none() {
            return Ok(());
        }
        packet.flow_key().map_or(Ok(()), |key| self.fragments.first(packet, key, now))
    }
}

/// How the connection that was judged so is inspected; `Err`: it is refused.
fn planned(
    judgement: &Judgement,
    key: &FlowKey,
    parties: &Parties,
    snapshot: &Snapshot,
) -> Result<Option<Plan>, Dropped> {
    let refused = |refusal: Refusal| Dropped {
        reason: refusal.reason,
        refusal: Some(refusal),
        parties: Some(*parties),
        is_reply: false,
    };
    if let Some(refusal) = judgement.refusal() {
        return Err(refused(refusal));
    }
    Plan::of(judgement, key.proto, key.dst_port, snapshot).map_err(|reason| match judgement.unreadable() {
        Some(refusal) => refused(refusal),
        None => Dropped { parties: Some(*parties), ..DropReason::Denied(reason).into() },
    })
}

fn remember(conn: &mut Conn, judgement: &Judgement, epoch: u64) {
    conn.verdict.epoch = epoch;
    conn.rules = judgement.rules();
    conn.audited = judgement.audited();
}
