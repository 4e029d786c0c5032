//! CiliumCIDRGroup.

use std::sync::Arc;

use super::{Body, Cursor, metadata, peers};
use crate::label::Source;
use crate::rule::CidrGroup;

/// Reads a group.
pub(crate) fn group(root: &Cursor<'_>) -> Body {
    let Some(object) = root.fields(&["apiVersion", "kind", "metadata", "spec", "status"]) else {
        return Body::Invalid(Vec::new());
    };
    let metadata = metadata::read(&object, &Source::CidrGroup);
    let mut prefixes = Vec::new();
    if let Some(spec) = object.need("spec").and_then(|at| at.fields(&["externalCIDRs"]))
        && let Some(list) = spec.need("externalCIDRs")
    {
        prefixes
            .extend(list.items().unwrap_or_default().iter().filter_map(peers::prefix).map(|net| net.trunc()));
    }
    Body::CidrGroup(CidrGroup {
        name: metadata.name,
        labels: metadata.labels,
        prefixes,
        file: Arc::clone(root.context.file),
        line: root.line(),
    })
}
