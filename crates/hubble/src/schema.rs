//! Names and numbers of fields, from the descriptors that the build makes.

use crate::proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::HashMap;
use std::sync::LazyLock;

/// One field of a message.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) repeated: bool,
    /// The message it holds, if it holds one.
    pub(crate) message: Option<String>,
}

/// Fields by the full name of their message, without a leading dot.
static MESSAGES: LazyLock<HashMap<String, Vec<Field>>> = LazyLock::new(|| {
    // Made by our own build and part of this binary; tests/numbers.rs reads all of it.
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let mut messages = HashMap::new();
    for file in &files.file {
        for message in &file.message_type {
            add(&mut messages, file.package(), message);
        }
    }
    messages
});

fn add(messages: &mut HashMap<String, Vec<Field>>, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}.{}", message.name());
    for inner in &message.nested_type {
        add(messages, &name, inner);
    }
    let fields = message.field.iter().map(|field| Field {
        name: field.name().to_owned(),
        number: u32::try_from(field.number()).unwrap_or_default(),
        repeated: field.label() == Label::Repeated,
        message: (field.r#type() == Type::Message)
            .then(|| field.type_name().trim_start_matches('.').to_owned()),
    });
    messages.insert(name, fields.collect());
}

/// The fields of a message; none of one that does not exist.
pub(crate) fn fields(message: &str) -> &'static [Field] {
    MESSAGES.get(message).map_or(&[], Vec::as_slice)
}
