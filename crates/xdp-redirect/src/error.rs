//! What can go wrong while loading and attaching, as facts.

use std::io;
use std::path::PathBuf;

/// An XDP program that somebody else attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignProgram {
    /// The kernel's number for it.
    pub id: u32,
    /// Its name, or `?` when it cannot be read.
    pub name: String,
}

/// Why the kernel program could not be loaded, attached or spoken to.
#[derive(Debug, thiserror::Error)]
pub enum RedirectError {
    /// The embedded object was refused (missing capability, old kernel, verifier).
    #[error("loading the kernel program: {0}")]
    Load(#[source] aya::EbpfError),
    /// The verifier or the kernel refused the program.
    #[error("loading the kernel program: {0}")]
    Program(#[source] aya::programs::ProgramError),
    /// The object lacks a map or program that the loader expects.
    #[error("the kernel program has no {what} `{name}`")]
    Missing {
        /// `map` or `program`.
        what: &'static str,
        /// Which.
        name: &'static str,
    },
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// Which map.
        map: &'static str,
        /// The kernel's answer.
        #[source]
        source: aya::maps::MapError,
    },
    /// There is no such interface.
    #[error("no interface {0}")]
    NoInterface(String),
    /// The interface carries an XDP program that is not ours; it is never replaced.
    #[error("interface {interface} already carries XDP program {} ({}); detach it first", .program.id, .program.name)]
    Foreign {
        /// The interface's name.
        interface: String,
        /// What is attached.
        program: ForeignProgram,
    },
    /// Neither native nor (where allowed) generic attachment worked.
    #[error("attaching to {interface}: native: {native}{}", .generic.as_ref().map(|g| format!("; generic: {g}")).unwrap_or_default())]
    Attach {
        /// The interface's name.
        interface: String,
        /// Why native mode was refused.
        native: String,
        /// Why generic mode was refused, if it was tried.
        generic: Option<String>,
    },
    /// The kernel has no BPF links for XDP (before 5.9), so an attachment could not be pinned or owned.
    #[error("the kernel cannot attach to {0} by a BPF link")]
    NoLink(String),
    /// The interface is not attached.
    #[error("interface index {0} is not attached")]
    NotAttached(u32),
    /// The queue does not exist on that port.
    #[error("interface index {ifindex} has {queues} receive queues, there is no queue {queue}")]
    NoQueue {
        /// The interface.
        ifindex: u32,
        /// The queue that was named.
        queue: u32,
        /// How many there are.
        queues: u32,
    },
    /// All entries of the socket map are taken.
    #[error("no {wanted} consecutive entries left in the socket map")]
    NoRoom {
        /// How many were needed.
        wanted: u32,
    },
    /// A file of the BPF file system could not be handled.
    #[error("{what} {path}: {source}")]
    Pin {
        /// What was being done.
        what: &'static str,
        /// To which path.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// Asking the kernel about an interface failed.
    #[error("asking about interface index {ifindex}: {source}")]
    Query {
        /// The interface.
        ifindex: u32,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}
