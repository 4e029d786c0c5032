//! HTTP/2 and gRPC on one connection.
