//! What a protocol asks and tells, put to policy and into the flow log.

use crate::conntrack::Conn;
use crate::events;
use crate::judge::Judgement;
use crate::learn::{LearnWriter, Learnt};
use crate::snapshot::Snapshot;
use flowlog::event::MessageVerdict;
use flowlog::ring::EventWriter;
use flowlog::{Detail, EventKind};
use l7::http::{Header, HttpRequest, HttpResponse};
use l7::kafka::{KafkaRequest, KafkaResponse};
use l7::tls::TlsHello;
use l7::{Anomaly, Judge, Learning, dns};
use packet::{Instant, Leg};
use policy::l7::L7Decision;
use policy::{DenyReason, Direction, L7RuleSet, L7RuleSetId, RuleId, Verdict};
use std::borrow::Cow;

/// The rule sets that the messages of a connection must satisfy: egress of the source, ingress of the destination.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SideRules {
    egress: Option<L7RuleSetId>,
    ingress: Option<L7RuleSetId>,
}

impl SideRules {
    /// Those that both sides' permits name.
    pub(crate) fn of(judgement: &Judgement) -> Self {
        let set = |direction: Direction| {
            judgement.sides().find(|side| side.direction == direction).and_then(|side| match side.verdict {
                Verdict::Allow(permit) => permit.l7(),
                Verdict::Deny(_) => None,
            })
        };
        Self { egress: set(Direction::Egress), ingress: set(Direction::Ingress) }
    }

    fn sides(&self) -> impl Iterator<Item = (Direction, L7RuleSetId)> {
        let egress = self.egress.map(|id| (Direction::Egress, id));
        egress.into_iter().chain(self.ingress.map(|id| (Direction::Ingress, id)))
    }

    /// Whether any of them refuses what it does not allow, and does not only say so.
    pub(crate) fn refuse(&self, snapshot: &Snapshot) -> bool {
        self.sets().any(|id| snapshot.policy.l7.get(id).is_none_or(|set| !set.is_audited()))
    }

    /// The sets of those sides that have one.
    pub(crate) fn sets(&self) -> impl Iterator<Item = L7RuleSetId> {
        self.sides().map(|(_, id)| id)
    }
}

/// Answers for one connection, during one call.
pub(super) struct Speaker<'a> {
    pub(super) conn: &'a Conn,
    pub(super) rules: &'a SideRules,
    pub(super) snapshot: &'a Snapshot,
    pub(super) events: &'a mut EventWriter,
    pub(super) learn: Option<&'a mut LearnWriter>,
    /// Number of the DNS answer that waits.
    pub(super) asked: &'a mut Option<u64>,
    pub(super) now: Instant,
}

impl Speaker<'_> {
    /// Whether nothing is refused on this connection: no side has rules, or all of them are audited.
    pub(super) fn is_lenient(&self) -> bool {
        !self.rules.refuse(self.snapshot)
    }

    /// Asks both sides; both must agree. A set that the snapshot does not know any more allows nothing.
    fn ask(&mut self, detail: Detail<'_>, decide: impl Fn(&L7RuleSet) -> L7Decision) -> bool {
        let snapshot = self.snapshot;
        let gone = L7Decision {
            allowed: false,
            audited: false,
            rule: RuleId::NONE,
            reason: Some(DenyReason::Unsupported),
        };
        let answer = |id| snapshot.policy.l7.get(id).map_or(gone, &decide);
        let answers = [self.rules.egress.map(answer), self.rules.ingress.map(answer)];
        let sides = [Direction::Egress, Direction::Ingress];
        let decided = || sides.into_iter().zip(answers).filter_map(|(side, answer)| Some((side, answer?)));
        if let Some((side, no)) = decided().find(|(_, answer)| !answer.allowed) {
            let reason = no.reason.unwrap_or(DenyReason::NoRule);
            self.log(Leg::Original, MessageVerdict::Dropped(reason), Some(side), no.rule, detail);
            return false;
        }
        let mut told = false;
        for (side, yes) in decided() {
            let verdict = if yes.audited { MessageVerdict::Audited } else { MessageVerdict::Forwarded };
            self.log(Leg::Original, verdict, Some(side), yes.rule, detail);
            told = true;
        }
        if !told {
            self.log(Leg::Original, MessageVerdict::Forwarded, None, RuleId::NONE, detail);
        }
        true
    }

    /// Tells what nobody decides: responses.
    fn tell(&mut self, leg: Leg, verdict: MessageVerdict, detail: Detail<'_>) {
        let mut told = false;
        let rules = *self.rules;
        for (side, _) in rules.sides() {
            let at = usize::from(side == Direction::Ingress);
            self.log(leg, verdict, Some(side), self.conn.rules[at], detail);
            told = true;
        }
        if !told {
            self.log(leg, verdict, None, RuleId::NONE, detail);
        }
    }

    fn log(
        &mut self,
        leg: Leg,
        verdict: MessageVerdict,
        direction: Option<Direction>,
        rule: RuleId,
        detail: Detail<'_>,
    ) {
        let mut event = events::of_message(self.conn, leg, self.snapshot, self.now);
        event.kind = EventKind::Message { verdict, direction, rule };
        self.events.record_message(event, detail);
    }

    /// Whether the addresses of an answer are in force, after they were handed over if they are not.
    fn learn(&mut self, answer: &dns::Answer<'_>) -> Learning {
        let Some(learn) = self.learn.as_deref_mut() else { return Learning::Done };
        if let Some(seq) = *self.asked {
            let in_force = self.snapshot.learnt.of(learn.worker()) >= seq;
            return if in_force { Learning::Done } else { Learning::Pending };
        }
        if answer.rcode != 0 || answer.addresses.is_empty() {
            return Learning::Done;
        }
        let policy = &self.snapshot.policy;
        let name = answer.query.name;
        let at = self.now;
        let endpoint = self.conn.src_endpoint;
        let told = learn.tell(|worker, seq| Learnt {
            worker,
            seq,
            endpoint,
            name: name.into(),
            addresses: answer.addresses.into(),
            cnames: answer.cnames.iter().map(|&name| name.into()).collect(),
            ttl: answer.ttl,
            at,
        });
        if !policy.fqdn_wanted(name) || policy.fqdn_in_force(name, answer.addresses) {
            return Learning::Done;
        }
        *self.asked = told;
        Learning::Pending
    }
}

impl Judge for Speaker<'_> {
    fn http_request(&mut self, request: &HttpRequest<'_>) -> bool {
        let ask = |set: &L7RuleSet, path| {
            set.http(&policy::l7::HttpRequest {
                method: request.method,
                path,
                host: request.host,
                headers: &Fields(request.headers),
            })
        };
        self.ask(Detail::HttpRequest(request), |set| {
            let normal = ask(set, request.normal_path);
            // The server may read either form.
            if normal.reason.is_some() || request.path == request.normal_path {
                return normal;
            }
            ask(set, request.path)
        })
    }

    fn http_response(&mut self, response: &HttpResponse<'_>) {
        self.tell(Leg::Reply, MessageVerdict::Forwarded, Detail::HttpResponse(response));
    }

    fn dns_query(&mut self, query: &dns::Query<'_>) -> bool {
        self.ask(Detail::DnsQuery(query), |set| set.dns(query.name))
    }

    fn dns_answer(&mut self, answer: &dns::Answer<'_>) -> Learning {
        let learning = self.learn(answer);
        if learning == Learning::Done {
            *self.asked = None;
            self.tell(Leg::Reply, MessageVerdict::Forwarded, Detail::DnsAnswer(answer));
        }
        learning
    }

    fn kafka_request(&mut self, request: &KafkaRequest<'_>) -> bool {
        self.ask(Detail::KafkaRequest(request), |set| {
            set.kafka(&policy::l7::KafkaRequest {
                api_key: request.api_key,
                api_version: request.api_version,
                client_id: request.client_id,
                topics: request.topics,
            })
        })
    }

    fn kafka_response(&mut self, response: &KafkaResponse<'_>) {
        self.tell(Leg::Reply, MessageVerdict::Forwarded, Detail::KafkaResponse(response));
    }

    fn tls_hello(&mut self, hello: &TlsHello<'_>) -> bool {
        self.ask(Detail::TlsHello(hello), |set| set.tls(hello.server_name))
    }

    fn oddity(&mut self, anomaly: Anomaly) {
        self.tell(Leg::Original, MessageVerdict::Error, Detail::Anomaly(anomaly));
    }
}

/// Header fields as policy asks for them.
struct Fields<'a>(&'a [Header<'a>]);

impl policy::l7::Headers for Fields<'_> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut found = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let first = found.next()?;
        let Some(second) = found.next() else { return Some(Cow::Borrowed(first.value)) };
        let mut joined = [first.value, b",", second.value].concat();
        for field in found {
            joined.push(b',');
            joined.extend_from_slice(field.value);
        }
        Some(Cow::Owned(joined))
    }
}
