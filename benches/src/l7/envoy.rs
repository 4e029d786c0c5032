//! Envoy as a gate: HTTP connection manager, RBAC filter with the rules of the comparison, router; one worker, no logs.

use super::rules::PATHS;
use super::speech::{METHOD, Speech};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where it listens, in the node.
pub const PORT: u16 = 8080;
/// Where it tells its counters, on the node's loopback.
pub const ADMIN_PORT: u16 = 9901;
/// The counter of requests that the rules allowed.
pub const ALLOWED_COUNTER: &str = "http.gate.rbac.allowed";

/// The binary: the given one, or that of `scripts/setup.sh bench`, or the one in `PATH`.
#[must_use]
pub fn find(given: Option<&Path>) -> Option<PathBuf> {
    if let Some(given) = given {
        return given.is_file().then(|| given.to_owned());
    }
    let installed = PathBuf::from("target/envoy/envoy/_bin/envoy");
    if installed.is_file() { Some(installed) } else { sluice::testbed::exec::find_program("envoy") }
}

/// The configuration for a server at this address.
#[must_use]
pub fn config(server: Ipv4Addr, speech: Speech) -> String {
    let mut config = json!({
        "admin": {"address": socket("127.0.0.1", ADMIN_PORT)},
        "static_resources": {
            "listeners": [{
                "name": "gate",
                "address": socket("0.0.0.0", PORT),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager(speech),
                }]}],
            }],
            "clusters": [{
                "name": "server",
                "type": "STATIC",
                "connect_timeout": "5s",
                "load_assignment": {
                    "cluster_name": "server",
                    "endpoints": [{"lb_endpoints": [
                        {"endpoint": {"address": socket(&server.to_string(), 80)}}
                    ]}],
                },
            }],
        },
    });
    if speech != Speech::Http1 {
        config["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        });
    }
    config.to_string()
}

fn socket(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

fn manager(speech: Speech) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gate",
        "codec_type": if speech == Speech::Http1 { "HTTP1" } else { "HTTP2" },
        "generate_request_id": false,
        "route_config": {
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server", "timeout": "0s"}}],
            }],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.rbac",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
                    "rules": {"action": "ALLOW", "policies": {"client": {
                        "permissions": permissions(speech),
                        "principals": [{"any": true}],
                    }}},
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            },
        ],
    })
}

fn permissions(speech: Speech) -> Vec<Value> {
    match speech {
        Speech::Grpc => [METHOD, "/bench.Echo/Probe[0-9]+"].map(|path| permission("POST", path)).to_vec(),
        _ => PATHS.iter().map(|path| permission("GET", path)).collect(),
    }
}

fn permission(method: &str, path: &str) -> Value {
    json!({"and_rules": {"rules": [
        {"header": {"name": ":method", "string_match": {"exact": method}}},
        {"header": {"name": ":path", "string_match": {"safe_regex": {"regex": path}}}},
    ]}})
}
