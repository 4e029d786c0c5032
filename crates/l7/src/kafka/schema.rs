//! What requests and responses are made of: fields, by version, and what each means here.
//!
//! [`table`](super::table) lists them for every API. Tagged fields are left out: none names a topic in a request, and
//! in a response of ours there are none. A request is listed up to its last field that counts.

/// The first flexible version of an API without any.
pub(super) const NEVER: i16 = i16::MAX;

/// An API: which versions there are, and how they look.
#[derive(Debug)]
pub(super) struct Api {
    /// API key.
    pub(super) key: i16,
    /// First and last version that are known.
    pub(super) min: i16,
    pub(super) max: i16,
    /// First version with compact lengths and tagged fields.
    pub(super) flexible: i16,
    /// Error code of a refusal.
    pub(super) code: i16,
    /// Body of the request, up to the last field that counts; empty if none does.
    pub(super) request: &'static [Field],
    /// Body of the response.
    pub(super) response: &'static [Field],
}

impl Api {
    /// Whether a version has compact lengths and tagged fields.
    pub(super) const fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }

    /// Whether a version is known.
    pub(super) const fn has(&self, version: i16) -> bool {
        version >= self.min && version <= self.max
    }
}

/// One field.
#[derive(Copy, Clone, Debug)]
pub(super) struct Field {
    pub(super) kind: Kind,
    pub(super) role: Role,
    /// First and last version that have it.
    pub(super) from: i16,
    pub(super) to: i16,
    /// First version in which it may be null.
    pub(super) null: i16,
    /// What a number is in a refusal.
    pub(super) default: i64,
}

/// How a field is written.
#[derive(Copy, Clone, Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(u8),
    Text,
    /// Bytes with their length.
    Bytes,
    /// Record batches: bytes with their length, empty rather than null in a refusal.
    Records,
    /// A list of structures; without fields: only its length is known.
    List(&'static [Field]),
    /// A list of primitive values.
    Many(&'static Field),
    /// One structure.
    Record(&'static [Field]),
}

/// What a field means.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Plain,
    /// Name of a topic, or a pattern of names.
    Topic,
    TopicId,
    Partition,
    /// Text that a response repeats: a group, a transactional id, a resource.
    Key,
    /// Number that a response repeats: the type of a resource, a producer id.
    Sort,
    /// Name of a resource, a topic if its type says so; repeated as a key.
    Config,
    /// A request within the request.
    Opaque,
    /// Acknowledgements that a produce asks for.
    Acks,
    Error,
    /// List with one element of the response for each of the request.
    Each,
    /// List whose elements' own lists count as one.
    Flat,
}

impl Field {
    const fn of(kind: Kind) -> Self {
        Self { kind, role: Role::Plain, from: 0, to: NEVER, null: NEVER, default: 0 }
    }

    pub(super) const fn from(mut self, version: i16) -> Self {
        self.from = version;
        self
    }

    pub(super) const fn to(mut self, version: i16) -> Self {
        self.to = version;
        self
    }

    pub(super) const fn null(mut self, version: i16) -> Self {
        self.null = version;
        self
    }

    /// The number that stands there in a refusal.
    pub(super) const fn or(mut self, default: i64) -> Self {
        self.default = default;
        self
    }

    const fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Whether a version has the field.
    pub(super) const fn is_in(&self, version: i16) -> bool {
        self.from <= version && version <= self.to
    }
}

macro_rules! roles {
    ($($name:ident = $role:ident),+) => {
        impl Field {
            $(pub(super) const fn $name(self) -> Self {
                self.role(Role::$role)
            })+
        }
    };
}

roles! {
    topic = Topic, topic_id = TopicId, partition = Partition, key = Key, sort = Sort, config = Config,
    opaque = Opaque, acks = Acks, error = Error, each = Each, flat = Flat
}

pub(super) const fn int8() -> Field {
    Field::of(Kind::Fixed(1))
}

pub(super) const fn int16() -> Field {
    Field::of(Kind::Fixed(2))
}

pub(super) const fn int32() -> Field {
    Field::of(Kind::Fixed(4))
}

pub(super) const fn int64() -> Field {
    Field::of(Kind::Fixed(8))
}

pub(super) const fn uuid() -> Field {
    Field::of(Kind::Fixed(16))
}

pub(super) const fn text() -> Field {
    Field::of(Kind::Text)
}

pub(super) const fn bytes() -> Field {
    Field::of(Kind::Bytes)
}

pub(super) const fn records() -> Field {
    Field::of(Kind::Records)
}

pub(super) const fn list(fields: &'static [Field]) -> Field {
    Field::of(Kind::List(fields))
}

pub(super) const fn many(item: &'static Field) -> Field {
    Field::of(Kind::Many(item))
}

pub(super) const fn record(fields: &'static [Field]) -> Field {
    Field::of(Kind::Record(fields))
}

/// One line of the table. The name is for its reader.
pub(super) const fn api(
    key: i16,
    _name: &'static str,
    min: i16,
    max: i16,
    flexible: i16,
    code: i16,
    request: &'static [Field],
    response: &'static [Field],
) -> Api {
    Api { key, min, max, flexible, code, request, response }
}
