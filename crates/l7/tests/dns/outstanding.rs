//! Which questions are remembered, for how long, and what waits.

use l7::dns::{DatagramStep, MAX_DATAGRAM_QUESTIONS, QUESTION_LIFETIME_NS, Udp};
use l7::{Anomaly, Settings, Side};

use crate::support::{Lines, address, datagram, message};

const UNEXPECTED: DatagramStep = DatagramStep::Drop(Anomaly::DnsUnexpectedAnswer);

struct Client {
    udp: Udp,
    judge: Lines,
    settings: Settings,
    now: u64,
}

impl Client {
    fn new() -> Self {
        Self { udp: Udp::new(), judge: Lines::default(), settings: Settings::default(), now: 1_000 }
    }

    fn ask(&mut self, id: u16, name: &str) -> DatagramStep {
        let query = message(id, 0x0100, name, 1, &[]);
        datagram(&mut self.udp, &mut self.judge, &self.settings, self.now, Side::Client, &query).0
    }

    fn answer(&mut self, id: u16, name: &str) -> DatagramStep {
        let answer = message(id, 0x8180, name, 1, &[address(1)]);
        datagram(&mut self.udp, &mut self.judge, &self.settings, self.now, Side::Server, &answer).0
    }
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Udp>() <= 200, "{}", size_of::<Udp>());
    let mut client = Client::new();
    assert_eq!(client.ask(1, "a.test"), DatagramStep::Pass);
    assert_eq!(client.udp.outstanding(), 1);
    assert_eq!(client.answer(1, "a.test"), DatagramStep::Pass);
    assert_eq!(client.udp.outstanding(), 0);
}

#[test]
fn an_answer_waits_until_it_is_in_force() {
    let mut client = Client::new();
    assert_eq!(client.ask(1, "a.test"), DatagramStep::Pass);
    client.judge.pending = 2;
    client.now += 500;
    assert_eq!(client.answer(1, "a.test"), DatagramStep::Wait);
    client.now += QUESTION_LIFETIME_NS;
    assert_eq!(client.answer(1, "a.test"), DatagramStep::Wait);
    assert_eq!(client.ask(2, "b.test"), DatagramStep::Pass, "which forgets what is too old");
    assert_eq!(client.answer(1, "a.test"), DatagramStep::Pass);
    assert_eq!(client.answer(1, "a.test"), UNEXPECTED);
    let told = "answer 0x0001 a.test 1 rcode=0 ttl=60 [10.0.0.1] via [] after 500 ns";
    let answers: Vec<_> = client.judge.told.iter().filter(|line| line.starts_with("answer")).collect();
    assert_eq!(answers, [told, told, told], "the same each time");
}

#[test]
fn a_question_is_forgotten_after_its_lifetime() {
    let mut client = Client::new();
    assert_eq!(client.ask(1, "a.test"), DatagramStep::Pass);
    client.now += QUESTION_LIFETIME_NS - 1;
    assert_eq!(client.ask(2, "b.test"), DatagramStep::Pass);
    assert_eq!(client.udp.outstanding(), 2);
    client.now += 1;
    assert_eq!(client.answer(1, "a.test"), UNEXPECTED);
    client.udp.expire(client.now);
    assert_eq!(client.udp.outstanding(), 1);
    assert_eq!(client.answer(2, "b.test"), DatagramStep::Pass);
}

#[test]
fn too_many_questions_forget_the_oldest() {
    let mut client = Client::new();
    let many = MAX_DATAGRAM_QUESTIONS as u16;
    for id in 0..=many {
        assert_eq!(client.ask(id, "a.test"), DatagramStep::Pass);
    }
    assert_eq!(client.udp.outstanding(), MAX_DATAGRAM_QUESTIONS);
    assert_eq!(client.judge.told.iter().filter(|line| line.starts_with("oddity")).count(), 1);
    assert!(client.judge.told.contains(&"oddity dns-too-many-outstanding".to_owned()));
    assert_eq!(client.answer(0, "a.test"), UNEXPECTED);
    for id in (1..=many).rev() {
        assert_eq!(client.answer(id, "a.test"), DatagramStep::Pass);
    }
    assert_eq!(client.udp.outstanding(), 0);
}

/// A rule that went away between two copies: the first copy's answer must not teach.
#[test]
fn a_question_refused_the_second_time_is_forgotten() {
    let mut client = Client::new();
    assert_eq!(client.ask(1, "a.test"), DatagramStep::Pass);
    let query = message(1, 0x0100, "a.test", 1, &[]);
    let mut refuse = l7::testing::Recorder { dns: Box::new(|_| false), ..Default::default() };
    let (step, _) = datagram(&mut client.udp, &mut refuse, &client.settings, 0, Side::Client, &query);
    assert_eq!(step, DatagramStep::Answer);
    assert_eq!(client.answer(1, "a.test"), UNEXPECTED);
}

#[test]
fn a_refusal_can_be_nxdomain() {
    let mut client = Client::new();
    client.settings.dns_nxdomain = true;
    let query = message(1, 0x0100, "denied.test", 1, &[]);
    let (step, reply) =
        datagram(&mut client.udp, &mut client.judge, &client.settings, 0, Side::Client, &query);
    assert_eq!(step, DatagramStep::Answer);
    assert_eq!(reply, message(1, 0x8183, "denied.test", 1, &[]));
}

#[test]
fn many_addresses_keep_their_order() {
    let mut client = Client::new();
    for count in [15, 16, 17, 18, 400] {
        assert_eq!(client.ask(1, "a.test"), DatagramStep::Pass);
        let records: Vec<_> = (0..count).map(address).collect();
        let answer = message(1, 0x8180, "a.test", 1, &records);
        let settings = client.settings;
        let (step, _) = datagram(&mut client.udp, &mut client.judge, &settings, 1_000, Side::Server, &answer);
        assert_eq!(step, DatagramStep::Pass);
        let list: Vec<_> = (0..count).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
        let told = format!("answer 0x0001 a.test 1 rcode=0 ttl=60 [{}] via []", list.join(", "));
        assert_eq!(client.judge.told.last(), Some(&told));
    }
}
