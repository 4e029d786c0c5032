//! The kernel program that steers frames into AF_XDP sockets, and its loader.
//!
//! One program with one set of maps serves all interfaces. It knows no policy: it gives frames to sockets, passes
//! what cannot be ours, and applies the configured [`Fallback`] where there is no living socket. With a pin folder
//! the links and maps outlive the process, so that `kill -9` leaves the fallback in force instead of an open
//! interface; the next start adopts them, and replacing the program is one atomic pointer swap.
//!
//! Everything here happens in the network namespace of the calling thread and off the packet path. The program's
//! source is in `ebpf/`; the object built from it is embedded, so no BPF toolchain is needed.
#![forbid(unsafe_code)]

mod abi;
mod error;
mod link;
mod pin;
mod redirect;

pub use abi::{Counters, Fallback, Mode};
pub use error::{ForeignProgram, RedirectError};
pub use link::AttachMode;
pub use pin::cleanup;
pub use redirect::{Attached, DEFAULT_PIN_DIR, Options, Redirect, monotonic_ns};
