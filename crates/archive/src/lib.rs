//! Flow records that leave memory: exporters, and the history on disk.

#![forbid(unsafe_code)]
