//! Everything that one seed decides.

use super::client::ClientSpec;
use super::length::Length;
use super::link::Weather;
use super::node::Rules;
use super::rng::Rng;
use super::script::Script;
use super::server::ServerSpec;
use super::stack::StackSpec;
use std::time::Duration;

/// How an application reads.
#[derive(Copy, Clone, Debug)]
pub struct Reader {
    /// Most bytes at once.
    pub most: usize,
    /// Time between two reads.
    pub pause: Duration,
}

impl Reader {
    const FAST: Self = Self { most: 65_536, pause: Duration::ZERO };

    fn random(rng: &mut Rng) -> Self {
        if rng.percent(60) {
            return Self::FAST;
        }
        Self {
            most: rng.pick(&[50, 500, 5_000]),
            pause: Duration::from_micros(rng.pick(&[0, 100, 5_000, 30_000])),
        }
    }
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub v6: bool,
    pub buffer_size: usize,
    pub script: Script,
    pub client: ClientSpec,
    pub server: ServerSpec,
    pub client_stack: StackSpec,
    pub server_stack: StackSpec,
    /// Client to worker, worker to server, server to worker, worker to client.
    pub weather: [Weather; 4],
    /// How long the weather lasts.
    pub storm: Duration,
    /// Seed of what links do.
    pub links: u64,
}

impl Schedule {
    pub fn random(seed: u64, rules: Rules, length: Length) -> Self {
        let mut rng = Rng::new(seed);
        let v6 = rng.percent(30);
        let script = Script::random(&mut rng, rules, length);
        let weather =
            if rng.percent(30) { [Weather::FAIR; 4] } else { [(); 4].map(|()| Weather::random(&mut rng)) };
        Self {
            v6,
            buffer_size: rng.pick(&[2_048, 4_096]),
            client: client(&mut rng, &script),
            server: server(&mut rng),
            client_stack: StackSpec::random(&mut rng, v6, length),
            server_stack: StackSpec::random(&mut rng, v6, length),
            weather,
            storm: Duration::from_secs(rng.pick(&[1, 5, 20])),
            links: rng.next(),
            script,
        }
    }
}

fn client(rng: &mut Rng, script: &Script) -> ClientSpec {
    let sent = script.sent();
    let pause = Duration::from_micros(rng.pick(&[0, 0, 100, 3_000]));
    let mut cuts = Vec::new();
    let mut at = 0;
    let style = rng.below(5);
    while at < sent.len() {
        at += match style {
            0 => sent.len(),
            // Byte for byte, though not through megabytes.
            1 if at < 3_000 => 1,
            2 => rng.between(1, 20),
            3 => rng.between(1, 2_000),
            _ => rng.pick(&[1, 2, 3, 500, 1_460, 5_000]),
        };
        cuts.push((at.min(sent.len()), if rng.percent(10) { pause * 20 } else { pause }));
    }
    ClientSpec { cuts, lockstep: rng.percent(35), closes_early: rng.percent(30), reader: Reader::random(rng) }
}

fn server(rng: &mut Rng) -> ServerSpec {
    let most = rng.pick(&[1, 1_000, 20_000, 200_000]);
    let thinks = (0..5).map(|_| Duration::from_micros(rng.below(most) as u64)).collect();
    ServerSpec { thinks, piece: rng.pick(&[1, 40, 1_000, 65_536, 65_536]), reader: Reader::random(rng) }
}
