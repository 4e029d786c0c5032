//! What conversations between pods are to reach, as ratios of the same run.

use crate::contender::{Contender, MANY};
use crate::frames::How;
use crate::netperf::Test;
use crate::report::{Aim, Table};
use crate::sample::{Sample, Spread, spread};

/// Small frames a second that one core is to forward.
const SMALL_FRAMES: f64 = 1_500_000.0;

fn rate(table: &Table, first: Contender, second: Contender) -> Option<Spread> {
    table.ratio(&first.name(), &second.name(), |sample| Some(sample.rate))
}

fn p99(table: &Table, first: Contender, second: Contender) -> Option<Spread> {
    table.ratio(&first.name(), &second.name(), |sample| sample.p99_us)
}

/// The aims of one netperf test.
#[must_use]
pub fn of_conversations(test: Test, table: &Table) -> Vec<Aim> {
    use Contender::{Bare, Iptables, Kernel, KernelNoOffload, Nftables, Sluice, SluiceSilent, TcEbpf};
    let among_us = |what: &str, first, second, aim| Aim::at_least(what, rate(table, first, second), aim);
    let least =
        |what: &str, first, second, aim| among_us(what, first, second, aim).beside(rate(table, Bare, second));
    let tail =
        |what: &str| Aim::at_most(what, p99(table, Sluice(1), Kernel), 1.2).beside(p99(table, Bare, Kernel));
    match test {
        Test::Rr => vec![
            among_us("10,000 policies by one", Sluice(MANY), Sluice(1), 0.99),
            among_us("with the flow log by without", Sluice(1), SluiceSilent, 0.97),
            least("10,000 policies by 1,000 iptables rules", Sluice(MANY), Iptables(1_000), 3.0),
            least("10,000 policies by 10,000 iptables rules", Sluice(MANY), Iptables(MANY), 10.0),
            least("10,000 policies by an nftables verdict map", Sluice(MANY), Nftables, 0.95),
            least("10,000 policies by the tc-eBPF hash", Sluice(MANY), TcEbpf, 0.95),
            least("by kernel veth routing without policy", Sluice(1), Kernel, 1.0),
            tail("99th percentile by that of kernel veth routing"),
        ],
        Test::Crr => vec![
            least("by kernel veth routing without policy", Sluice(1), Kernel, 1.0),
            tail("99th percentile by that of kernel veth routing"),
        ],
        Test::UdpRr => Vec::new(),
        Test::Stream => {
            vec![least("by the kernel without segmentation offload", Sluice(1), KernelNoOffload, 0.9)]
        }
    }
}

/// The aims of bulk at MTU 9,000 against the kernel at 1,500.
#[must_use]
pub fn of_jumbo(table: &Table) -> Vec<Aim> {
    let by = |second| rate(table, Contender::SluiceJumbo, second);
    vec![
        Aim::at_least("MTU 9,000 by the kernel without offload", by(Contender::KernelNoOffload), 1.8),
        Aim::at_least("MTU 9,000 by the kernel with offload", by(Contender::Kernel), 0.5),
    ]
}

/// The aims of small frames. Through a socket the generator is a limit itself, so how many they are says nothing there.
#[must_use]
pub fn of_frames(table: &Table, how: How) -> Vec<Aim> {
    let rates = |of: Contender| spread(table.of(&of.name()).iter().map(|sample: &Sample| sample.rate));
    let mut aims = vec![
        Aim::at_least(
            "with the flow log by without",
            rate(table, Contender::Sluice(1), Contender::SluiceSilent),
            0.97,
        ),
        Aim::at_least("by the bare forwarder", rate(table, Contender::Sluice(1), Contender::Bare), 0.9),
    ];
    if how == How::Kernel {
        let ours = Aim::at_least("frames a second", rates(Contender::Sluice(1)), SMALL_FRAMES);
        aims.push(ours.beside(rates(Contender::Bare)));
    }
    aims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_forwarder_stands_in_our_place_beside_others_and_not_among_ourselves() {
        let mut table = Table::new("TCP_RR", "transaction", "Sluice, 1 policy");
        let sample = |rate, p99| Sample { rate, p99_us: Some(p99), ..Sample::default() };
        table.add(&Contender::Sluice(1).name(), None, sample(9.0, 70.0));
        table.add(&Contender::Bare.name(), None, sample(8.0, 30.0));
        table.add(&Contender::Kernel.name(), None, sample(10.0, 60.0));
        let medians = |aims: Vec<Aim>| -> Vec<Option<f64>> {
            aims.iter().map(|aim| aim.bare.map(|bare| bare.median)).collect()
        };
        let conversations = medians(of_conversations(Test::Rr, &table));
        assert_eq!(conversations, [None, None, None, None, None, None, Some(0.8), Some(0.5)]);
        assert_eq!(medians(of_frames(&table, How::Kernel)), [None, None, Some(8.0)]);
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let mut table = Table::new("TCP_RR", "transaction", "Sluice, 1 policy");
        table.add(&Contender::Sluice(MANY).name(), None, Sample { rate: 30.0, ..Sample::default() });
        table.add(&Contender::Iptables(MANY).name(), None, Sample { rate: 2.0, ..Sample::default() });
        let met: Vec<_> = of_conversations(Test::Rr, &table).iter().map(Aim::is_met).collect();
        assert_eq!(met, [None, None, None, Some(true), None, None, None, None]);
    }
}
