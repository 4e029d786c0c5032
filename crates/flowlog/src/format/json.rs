//! One JSON object a line, as Hubble's `-o json` and its exporter write it.

use crate::api::ResponseLine;
use crate::record::Record;
use std::io::{self, Write};
use std::sync::Arc;

pub(super) fn write(out: &mut dyn Write, record: &Record) -> io::Result<()> {
    ResponseLine::from(Arc::new(record.clone())).write(out)
}
