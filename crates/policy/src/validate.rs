//! Whether single values are well formed, apart from where they stand.
//!
//! The rules are those of the Kubernetes API (qualified names, label values) and of Cilium's CRD patterns.

use std::net::IpAddr;

use ipnet::IpNet;

/// Longest label name and label value, RFC 1123 §2.1.
const MAX_LABEL: usize = 63;
/// Longest DNS subdomain, RFC 1035 §3.1.
const MAX_SUBDOMAIN: usize = 253;
/// Longest `matchName` and `matchPattern` of the CRD.
pub(crate) const MAX_DNS_NAME: usize = 255;

/// A label key as Kubernetes has it: an optional DNS subdomain and `/`, then a name.
pub(crate) fn qualified_name(key: &str) -> Result<(), String> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if !subdomain(prefix) {
                return Err(format!(
                    "`{prefix}` is not a lower-case DNS name, as the part before `/` must be"
                ));
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err("the key has no name".to_owned());
    }
    if name.len() > MAX_LABEL {
        return Err(format!("the key is longer than {MAX_LABEL} bytes"));
    }
    if !label_word(name) {
        return Err(format!(
            "`{name}` must be letters, digits, `-`, `_` or `.`, and start and end with a letter or digit"
        ));
    }
    Ok(())
}

/// A label value: empty, or at most 63 bytes of letters, digits, `-`, `_`, `.`.
pub(crate) fn label_value(value: &str) -> Result<(), String> {
    if value.len() > MAX_LABEL {
        return Err(format!("the value is longer than {MAX_LABEL} bytes"));
    }
    if !value.is_empty() && !label_word(value) {
        return Err(format!(
            "`{value}` must be letters, digits, `-`, `_` or `.`, and start and end with a letter or digit"
        ));
    }
    Ok(())
}

/// A lower-case DNS subdomain, RFC 1123.
pub(crate) fn subdomain(name: &str) -> bool {
    name.len() <= MAX_SUBDOMAIN
        && name.split('.').all(|label| {
            let bytes = label.as_bytes();
            let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            bytes.first().is_some_and(inner)
                && bytes.last().is_some_and(inner)
                && bytes.iter().all(|b| inner(b) || *b == b'-')
        })
}

fn label_word(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A prefix `address/bits`, host bits as written. No masks, no leading zeros, no zones.
pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    let Some((address, bits)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("`{text}` is an address, not a prefix: write {text}/32"),
            Ok(IpAddr::V6(_)) => format!("`{text}` is an address, not a prefix: write {text}/128"),
            Err(_) => format!("`{text}` is not a prefix such as 10.0.0.0/8 or 2001:db8::/32"),
        });
    };
    let address: IpAddr =
        address.parse().map_err(|_| format!("`{address}` is not an IPv4 or IPv6 address"))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let canonical = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let length = bits.parse::<u8>().ok().filter(|length| canonical && *length <= max);
    let Some(length) = length else {
        return Err(format!("`{bits}` is not a prefix length between 0 and {max}"));
    };
    IpNet::new(address, length).map_err(|error| error.to_string())
}

/// An IANA service name (RFC 6335 §5.1): what a named port may be called.
pub(crate) fn service_name(name: &str) -> bool {
    name.len() <= 15
        && name.bytes().any(|b| b.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// A port number as Go reads it with base 0: decimal, or octal with a leading zero. (`0x50` is a service name.)
pub(crate) fn port_number(text: &str) -> Result<u16, String> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let misplaced = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    if digits.is_empty() || misplaced || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "`{text}` is neither a port number nor a port name (at most 15 letters, digits and single `-`)"
        ));
    }
    let octal = digits.len() > 1 && digits.starts_with('0');
    let number = if octal { u32::from_str_radix(&digits, 8) } else { digits.parse() };
    match number {
        Ok(number) => u16::try_from(number).map_err(|_| format!("port {text} is larger than 65535")),
        Err(_) if octal => {
            Err(format!("`{text}` starts with 0, which makes it octal, and is not an octal number"))
        }
        Err(_) => Err(format!("port {text} is larger than 65535")),
    }
}

/// A `matchName`: labels of letters, digits, `-`, `_`, single dots between, one may end it.
pub(crate) fn dns_name(name: &str) -> Result<(), String> {
    dns_text(name, "-_", "letters, digits, `-`, `_` and single dots")
}

/// A `matchPattern`: as [`dns_name`], with stars.
pub(crate) fn dns_pattern(pattern: &str) -> Result<(), String> {
    dns_text(pattern, "-_*", "letters, digits, `-`, `_`, `*` and single dots")
}

fn dns_text(text: &str, extra: &str, admitted: &str) -> Result<(), String> {
    if text.len() > MAX_DNS_NAME {
        return Err(format!("the name is longer than {MAX_DNS_NAME} bytes"));
    }
    let labels = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    if labels.split('.').all(label) { Ok(()) } else { Err(format!("`{text}` may only hold {admitted}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(port_number("80"), Ok(80));
        assert_eq!(port_number("0100"), Ok(64));
        assert_eq!(port_number("0"), Ok(0));
        assert!(port_number("080").is_err());
        assert!(port_number("65536").is_err());
        assert!(port_number("ht_tp").is_err());
        assert!(port_number("-1").is_err());
        assert!(service_name("0x50") && service_name("http") && service_name("HTTP-2"));
        assert!(
            !service_name("80")
                && !service_name("a--b")
                && !service_name("-a")
                && !service_name("sixteen-letters-")
        );
    }

    #[test]
    fn prefixes() {
        assert!(prefix("10.0.0.5/8").is_ok());
        for bad in [
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/",
            "10.0.0.0",
            "x",
            "fe80::%eth0/64",
            "010.0.0.0/8",
            "10.0.0.0/+8",
        ] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(qualified_name("k8s.io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name").is_ok());
        assert!(qualified_name("any.a b").is_err());
        assert!(qualified_name("Foo/bar").is_err());
        assert!(label_value("").is_ok() && label_value("a.b_c-d").is_ok());
        assert!(label_value("-a").is_err() && label_value(&"v".repeat(64)).is_err());
        assert!(
            dns_name("a.b.").is_ok()
                && dns_name("a..b").is_err()
                && dns_name("").is_err()
                && dns_name("*.a").is_err()
        );
        assert!(dns_pattern("**.a*b.c").is_ok() && dns_pattern("a$").is_err());
    }
}
