//! Hubble's gRPC Observer API over the flow log, so that the stock client works.

#![forbid(unsafe_code)]
