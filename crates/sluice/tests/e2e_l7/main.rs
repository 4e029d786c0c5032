//! Inspection on real traffic: programs that know nothing of the appliance, over AF_XDP, with the kernel's TCP on
//! both sides.

#[path = "../support/mod.rs"]
mod support;

mod dns;
mod framing;
mod http;
mod http2;
mod hyper_server;
mod kit;
mod many;
mod policy_changes;
mod tls;
mod wires;
