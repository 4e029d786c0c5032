//! The flags about how records are shown, wherever they come from.

use super::when;
use clap::{Args, ValueEnum};
use flowlog::format::{Layout, Options};
use std::io::IsTerminal as _;

/// How records are shown.
#[derive(Args, Debug)]
pub(crate) struct LayoutArgs {
    /// Layout.
    #[arg(long, short, value_enum, default_value = "compact", ignore_case = true)]
    output: OutputArg,
    /// Format of times: StampMilli, RFC3339, RFC3339Milli, RFC3339Micro, RFC3339Nano, RFC1123Z, YearMonthDay,
    /// YearMonthDayHour, YearMonthDayHourMinute, or strftime's.
    #[arg(long, value_name = "FORMAT", default_value = "StampMilli", value_parser = when::parse_format)]
    time_format: String,
    /// Name the policies of allowed flows too, and where they stand.
    #[arg(long)]
    print_policy_names: bool,
    /// Addresses and numbers instead of names.
    #[arg(long)]
    numeric: bool,
}

/// `-o`.
#[derive(Copy, Clone, PartialEq, Eq, Debug, ValueEnum)]
enum OutputArg {
    Compact,
    Dict,
    #[value(alias = "jsonpb")]
    Json,
    #[value(alias = "tab")]
    Table,
}

impl LayoutArgs {
    /// Which layout.
    pub(crate) const fn layout(&self) -> Layout {
        match self.output {
            OutputArg::Compact => Layout::Compact,
            OutputArg::Dict => Layout::Dict,
            OutputArg::Json => Layout::Json,
            OutputArg::Table => Layout::Table,
        }
    }

    /// All of it, with colours where somebody looks at them.
    pub(crate) fn options(&self) -> Options {
        Options {
            layout: self.layout(),
            time_format: self.time_format.clone(),
            policy_names: self.print_policy_names,
            numeric: self.numeric,
            color: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ..Options::default()
        }
    }
}
