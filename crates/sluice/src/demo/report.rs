//! What the demo prints: a line for each conversation as it ends, aligned, in colour on a terminal only.

use std::io::{IsTerminal, Write};

use owo_colors::{OwoColorize, Style};

use super::conversation::{Conversation, Happened, Outcome, list};

/// Prints the table and remembers whether all went as expected.
#[derive(Debug)]
pub(super) struct Report {
    colour: bool,
    widths: [usize; 4],
    unexpected: usize,
    shown: usize,
}

impl Report {
    /// A report whose columns fit these conversations.
    pub(super) fn new(conversations: &[Conversation]) -> Self {
        let width = |text: fn(&Conversation) -> String| {
            conversations.iter().map(|one| text(one).len()).max().unwrap_or(0)
        };
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            widths: [
                width(|one| one.from.short().to_owned()),
                width(Conversation::destination),
                width(|one| one.probe.to_string()),
                width(|one| one.expect.to_string()).max("expected".len()),
            ],
            unexpected: 0,
            shown: 0,
        }
    }

    /// A heading with an empty line before it.
    pub(super) fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.paint(text, Style::new().bold())));
    }

    /// One line as it is.
    pub(super) fn line(&self, text: &str) {
        // A reader that went away (`| head`) must not keep the testbed from being taken down.
        let mut out = std::io::stdout().lock();
        let _closed = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// A line of less weight.
    pub(super) fn note(&self, text: &str) {
        self.line(&self.paint(text, Style::new().dimmed()));
    }

    /// The names of the columns.
    pub(super) fn header(&self) {
        let [from, to, what, expected] = self.widths;
        self.note(&format!(
            "  {:from$}    {:to$}  {:what$}  {:expected$}  happened",
            "from", "to", "what", "expected"
        ));
    }

    /// One conversation.
    pub(super) fn outcome(&mut self, outcome: &Outcome) {
        let one = &outcome.conversation;
        let happened = match &outcome.happened {
            Happened::Answered(how) => format!("answer in {} ms: {how}", outcome.elapsed.as_millis()),
            Happened::Statuses(codes) => {
                let together = if codes.len() > 1 { " on one connection" } else { "" };
                format!("HTTP {}{together} in {} ms", list(codes), outcome.elapsed.as_millis())
            }
            Happened::Silence => format!("silence for {:.1} s", outcome.elapsed.as_secs_f32()),
            Happened::Failed(why) => format!("failed: {why}"),
        };
        let columns = [one.from.short(), &one.destination(), &one.probe.to_string(), &one.expect.to_string()];
        self.exchange(columns, &happened, outcome.as_expected());
    }

    /// Who, whom, what and what to expect; what happened, and whether that is it.
    pub(super) fn exchange(&mut self, columns: [&str; 4], happened: &str, as_expected: bool) {
        let [from, to, what, expected] = self.widths;
        let [source, destination, asked, expect] = columns;
        self.shown += 1;
        let (mark, style) = if as_expected {
            ("ok", Style::new().green())
        } else {
            self.unexpected += 1;
            ("NOT AS EXPECTED", Style::new().red().bold())
        };
        self.line(&format!(
            "  {source:from$} -> {destination:to$}  {asked:what$}  {expect:expected$}  {happened}  {}",
            self.paint(mark, style)
        ));
    }

    /// A drop with the rule that is missing: first line as it is, the rest of less weight.
    pub(super) fn drop_record(&self, text: &str) {
        for (number, line) in text.lines().enumerate() {
            if number == 0 { self.line(line) } else { self.note(line) }
        }
    }

    /// The closing line; true when all went as expected.
    pub(super) fn verdict(&self, how: &str) -> bool {
        let good = self.unexpected == 0;
        let text = if good {
            self.paint(&format!("All {} outcomes are as expected", self.shown), Style::new().green().bold())
        } else {
            let text = format!("{} of {} outcomes are NOT as expected", self.unexpected, self.shown);
            self.paint(&text, Style::new().red().bold())
        };
        self.line(&format!("\n{text} ({how})."));
        good
    }

    fn paint(&self, text: &str, style: Style) -> String {
        if self.colour { text.style(style).to_string() } else { text.to_owned() }
    }
}
