//! Network namespaces by name.
