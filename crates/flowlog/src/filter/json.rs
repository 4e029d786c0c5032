//! Filters as people and other tools write them: the liberties of protobuf's JSON, and nothing else.

use super::{FilterError, FlowFilter, MAX_ENTRIES};
use crate::drop_reason::reason_name;
use crate::record::{IpVersion, TrafficDirection, Verdict};
use serde_json::Value;

/// Longest text that is read.
const MAX_TEXT: usize = 1 << 20;

/// Reads one filter after another.
pub(super) fn read(text: &str) -> Result<Vec<FlowFilter>, FilterError> {
    if text.len() > MAX_TEXT {
        return Err(FilterError::TooMany);
    }
    let mut filters = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| FilterError::Json(error.to_string()))?;
        if filters.len() == MAX_ENTRIES {
            return Err(FilterError::TooMany);
        }
        let Value::Object(fields) = value else {
            return Err(FilterError::Json(format!("a filter is an object, not {value}")));
        };
        let fields = fields.into_iter().map(|(name, value)| {
            let name = snake_case(&name);
            let value = plain(&name, value);
            (name, value)
        });
        let filter = serde_json::from_value(Value::Object(fields.collect()));
        filters.push(filter.map_err(|error| FilterError::Json(error.to_string()))?);
    }
    Ok(filters)
}

/// `sourcePod` is `source_pod`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The value as our types have it; what makes no sense is left for them to refuse.
fn plain(name: &str, value: Value) -> Value {
    let Value::Array(items) = value else {
        // protobuf writes null for what is not set.
        return if value.is_null() { Value::Array(Vec::new()) } else { value };
    };
    let item = |item: Value| match name {
        "verdict" => enum_name(item, |n| Verdict::ALL.get(n).map(|v| v.name())),
        "traffic_direction" => enum_name(item, |n| TrafficDirection::ALL.get(n).map(|d| d.name())),
        "ip_version" => enum_name(item, |n| IpVersion::ALL.get(n).map(|v| v.name())),
        "drop_reason_desc" => enum_name(item, |n| reason_name(u32::try_from(n).ok()?)),
        "ip_trace_id" => match item.as_str().map(str::parse::<u64>) {
            Some(Ok(number)) => number.into(),
            _ => item,
        },
        "event_type" => match item {
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (snake_case(&name), value));
                Value::Object(fields.collect())
            }
            item => item,
        },
        _ => item,
    };
    Value::Array(items.into_iter().map(item).collect())
}

fn enum_name(item: Value, name: impl Fn(usize) -> Option<&'static str>) -> Value {
    let number = item.as_u64().and_then(|n| usize::try_from(n).ok());
    number.and_then(name).map_or(item, Value::from)
}
