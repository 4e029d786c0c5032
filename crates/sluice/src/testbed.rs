//! A cluster node in network namespaces: pods, servers, clients and the agent under test.

pub mod netns;
