//! The web page: service map, flow table, explanations. Knows the flow log, not the node service.

#![forbid(unsafe_code)]
