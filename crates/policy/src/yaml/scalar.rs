//! What a scalar stands for.

use super::Value;

/// Resolves a scalar by its tag, or if it is plain by its look.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<(bool, &str)>) -> Result<Value, String> {
    match tag {
        Some((true, "str")) | Some((false, "!")) => return Ok(Value::String(text.into())),
        Some((true, "null" | "bool" | "int" | "float")) | None => {}
        Some((_, suffix)) => return Err(format!("tag `{suffix}` is not supported")),
    }
    if !plain && tag.is_none() {
        return Ok(Value::String(text.into()));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => {
            Value::Bool(true)
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            Value::Bool(false)
        }
        _ => match number(text) {
            Some(value) => value,
            None => Value::String(text.into()),
        },
    })
}

/// A number, if the text looks like one.
fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let first = *digits.as_bytes().first()?;
    if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Some(Value::Float);
    }
    if !first.is_ascii_digit() && first != b'.' {
        return None;
    }
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    let radix = |digits: &str, radix| i64::from_str_radix(digits, radix).ok();
    let integer = match clean.as_bytes() {
        [b'0', b'x', ..] => radix(&clean[2..], 16),
        [b'0', b'o', ..] => radix(&clean[2..], 8),
        [b'0', b'b', ..] => radix(&clean[2..], 2),
        [b'0', rest @ ..] if !rest.is_empty() => radix(&clean[1..], 8),
        _ => clean.parse().ok(),
    };
    if let Some(value) = integer {
        return Some(Value::Int(if negative { -value } else { value }));
    }
    let float = clean.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && clean.bytes().any(|b| b.is_ascii_digit())
        && clean.parse::<f64>().is_ok();
    float.then_some(Value::Float)
}
