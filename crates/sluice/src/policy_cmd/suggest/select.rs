//! Which records a suggestion is made of: the filters and ranges of `sluice observe`.

use crate::observe::filter_args::FilterArgs;
use crate::observe::when;
use anyhow::Result;
use clap::Args;
use flowlog::api::ObserveRequest;
use jiff::Timestamp;

/// Flags that select records.
#[derive(Args, Debug)]
pub(super) struct SelectArgs {
    /// The newest so many records.
    #[arg(long, value_name = "N", conflicts_with_all = ["first", "all"])]
    last: Option<u64>,
    /// The oldest so many records.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    first: Option<u64>,
    /// All records that are kept (the default).
    #[arg(long)]
    all: bool,
    /// Records since then: 2h, 2025-01-31, 2025-01-31T10:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Records until then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

impl SelectArgs {
    pub(super) fn request(&self, now: Timestamp) -> Result<ObserveRequest> {
        let when = |text: &Option<String>| text.as_deref().map(|text| when::parse(text, now)).transpose();
        Ok(ObserveRequest {
            filters: self.filter.build()?,
            last: self.last,
            first: self.first,
            since: when(&self.since)?,
            until: when(&self.until)?,
            ..ObserveRequest::default()
        })
    }

    /// Namespaces of `--namespace`, whose workloads are meant.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        let named = self.filter.typed().filter(|(name, value)| *name == "namespace" && !value.is_empty());
        named.filter(|_| !self.negates()).map(|(_, value)| value)
    }

    /// Whether the records are a part of the traffic of the workloads that are meant.
    pub(super) fn is_part(&self) -> bool {
        self.negates() || self.filter.typed().any(|(name, _)| name != "namespace")
    }

    fn negates(&self) -> bool {
        self.filter.typed().any(|(name, _)| name == "not")
    }
}
