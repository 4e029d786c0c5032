//! The least policy that allows what was seen, as CiliumNetworkPolicy YAML with its evidence.

#![forbid(unsafe_code)]
