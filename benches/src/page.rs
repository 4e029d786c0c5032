//! The report: runs as one page of Markdown, with the machine, how it was measured, tables, aims and charts.

use crate::chart;
use crate::report::{Run, Table};
use anyhow::Result;
use std::fmt::Write as _;

/// The page.
pub const NAME: &str = "bench-report.md";

/// How to read it. The details are those of the two programs' heads.
const METHOD: &str = "\
Every contender has a node of its own in network namespaces, with a client and a server pod; one runs at a time, the others \
stand still. Sluice with other policies is the same node and process, its policies swapped. Rounds are interleaved: each contender once, then again. Ratios are medians of the ratios of single rounds, with \
the least and the most; rates are this machine's and are worth nothing elsewhere. A sample of which a hypervisor took more \
than a twentieth of one CPU is taken again, four times at most, and the least disturbed one counts. After each sample the contender's own \
counters must say that all packets or requests went through it, and those of the kernel's routing that none went past it, or \
the run fails. Whoever spins has CPU 1 to itself and shows it as busy; client and server then share CPU 0. Where the kernel \
forwards, client and server have a CPU each. Pods behind AF_XDP have no segmentation offload, and those of the bare forwarder \
sum their own checksums; all others keep both. Rules and policies are the same list for everybody, and the entry that matches is the last one. \
Behind an aim stands what the bare forwarder has in the place of Sluice, wherever it can stand there. It looks at nothing and \
sends each frame as it came: where it misses an aim as well, moving frames through AF_XDP sockets is in the way already.\n";

/// File names with their contents: the page, and the charts that it shows.
///
/// # Errors
/// A chart cannot be drawn.
pub fn write(runs: &[Run], scaling: &[sluice_micro::scaling::Run]) -> Result<Vec<(String, String)>> {
    let mut page =
        "# Comparisons\n\nWritten by `make bench`; what the figures mean is in the hand-written page of \
                    measurements.\n\n"
            .to_owned();
    page.push_str(METHOD);
    let mut files = Vec::new();
    for run in runs {
        // Formatting into a string cannot fail.
        let _ok = write!(
            page,
            "\n`{}`, {}; {} rounds of {} s.\n",
            run.command,
            run.machine.line(),
            run.rounds,
            run.seconds
        );
        for failure in &run.failures {
            let _ok = write!(page, "\n**Not measured**: {failure}\n");
        }
        for table in &run.tables {
            section(&mut page, &mut files, table)?;
        }
        for (what, text) in &run.notes {
            let _ok = write!(page, "\n{what}: {text}.\n");
        }
    }
    crate::scaling::sections(&mut page, &mut files, scaling)?;
    files.insert(0, (NAME.to_owned(), page));
    Ok(files)
}

fn section(page: &mut String, files: &mut Vec<(String, String)>, table: &Table) -> Result<()> {
    let _ok = write!(page, "\n## {}\n\n", table.name);
    let mut charts = vec![("", Some(chart::bars(table)?))];
    charts.push(("-rules", chart::lines(table)?));
    for (which, svg) in charts {
        if let Some(svg) = svg {
            let name = format!("bench-{}{which}.svg", slug(&table.name));
            let _ok = write!(page, "![{}]({name})\n\n", table.name);
            files.push((name, svg));
        }
    }
    page.push_str(&table.markdown());
    if !table.aims.is_empty() {
        page.push('\n');
    }
    for aim in &table.aims {
        let _ok = writeln!(page, "- {}", aim.line());
    }
    Ok(())
}

/// A name for a file: letters and digits, with single hyphens between.
pub(crate) fn slug(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Aim;
    use crate::sample::{Sample, Spread};

    #[test]
    fn the_page_shows_every_chart_that_is_written_and_no_other() {
        let mut table = Table::new("TCP_RR, 1 byte", "transaction", "ours");
        for (name, count) in [("ours, 1", 1), ("ours, 10", 10)] {
            let sample = Sample { rate: 100.0, ..Sample::default() };
            table.add(name, Some(("ours".to_owned(), count)), sample);
        }
        let found = Some(Spread { median: 1.0, least: 1.0, most: 1.0 });
        table.aims.push(Aim::at_least("ten by one", found, 0.99));
        let run = Run { tables: vec![table], notes: vec![("idle".into(), "0.4 %".into())], ..Run::default() };
        let files = write(&[run], &[]).expect("drawn");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [NAME, "bench-tcp-rr-1-byte.svg", "bench-tcp-rr-1-byte-rules.svg"]);
        let page = &files[0].1;
        for expected in [
            "(bench-tcp-rr-1-byte.svg)",
            "(bench-tcp-rr-1-byte-rules.svg)",
            "ten by one: 1.00",
            "idle: 0.4 %.",
        ] {
            assert!(page.contains(expected), "no {expected} in\n{page}");
        }
    }
}
