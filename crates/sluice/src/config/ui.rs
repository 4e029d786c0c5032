//! The web page: where it is served.

use serde::{Deserialize, Serialize};

/// The web page.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Ui {
    /// Address and port; empty: not served.
    pub listen: String,
}

impl Ui {
    /// What types alone do not say: the offending key and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}
