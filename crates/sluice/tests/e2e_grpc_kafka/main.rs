//! HTTP/2, gRPC and Kafka on real traffic: clients and servers that know nothing of the appliance, over AF_XDP, with
//! the kernel's TCP on both sides.

#[path = "../support/mod.rs"]
mod support;

mod grpc;
mod http2;
mod kafka;
mod kit;
mod rust;
mod rust_grpc;
mod rust_kafka;
mod tansu;
