//! A value on its way to a serializer, with nothing but the fields that a mask keeps. What it leaves out is never
//! looked at: a few fields of a record cost less than all of it.

use super::Node;
use serde::ser::{Serialize, SerializeStruct, SerializeStructVariant, Serializer};

/// A value and what is wanted of it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Picked<'a, T: ?Sized> {
    pub(super) node: &'a Node,
    pub(super) value: &'a T,
}

impl<T: Serialize + ?Sized> Serialize for Picked<'_, T> {
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        if self.node.0.is_empty() {
            return self.value.serialize(inner);
        }
        self.value.serialize(Picking { node: self.node, inner })
    }
}

/// Passes on what `node` names; a value that has no fields passes whole.
struct Picking<'a, S> {
    node: &'a Node,
    inner: S,
}

/// Values that have no fields, or that a mask takes whole.
macro_rules! pass {
    ($($method:ident($($arg:ident: $type:ty),*) -> $answer:ident;)*) => {
        $(fn $method(self, $($arg: $type),*) -> Result<Self::$answer, S::Error> { self.inner.$method($($arg),*) })*
    };
}

impl<'a, S: Serializer> Serializer for Picking<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = S::SerializeSeq;
    type SerializeTuple = S::SerializeTuple;
    type SerializeTupleStruct = S::SerializeTupleStruct;
    type SerializeTupleVariant = S::SerializeTupleVariant;
    type SerializeMap = S::SerializeMap;
    type SerializeStruct = Picking<'a, S::SerializeStruct>;
    type SerializeStructVariant = Picking<'a, S::SerializeStructVariant>;

    pass! {
        serialize_bool(v: bool) -> Ok;
        serialize_i8(v: i8) -> Ok;
        serialize_i16(v: i16) -> Ok;
        serialize_i32(v: i32) -> Ok;
        serialize_i64(v: i64) -> Ok;
        serialize_i128(v: i128) -> Ok;
        serialize_u8(v: u8) -> Ok;
        serialize_u16(v: u16) -> Ok;
        serialize_u32(v: u32) -> Ok;
        serialize_u64(v: u64) -> Ok;
        serialize_u128(v: u128) -> Ok;
        serialize_f32(v: f32) -> Ok;
        serialize_f64(v: f64) -> Ok;
        serialize_char(v: char) -> Ok;
        serialize_str(v: &str) -> Ok;
        serialize_bytes(v: &[u8]) -> Ok;
        serialize_none() -> Ok;
        serialize_unit() -> Ok;
        serialize_unit_struct(name: &'static str) -> Ok;
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str) -> Ok;
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Picked { node: self.node, value })
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Picked { node: self.node, value })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        match self.node.get(variant) {
            Some(node) => self.inner.serialize_newtype_variant(name, index, variant, &Picked { node, value }),
            // A message of which nothing is wanted that it has.
            None => self.inner.serialize_struct(name, 0)?.end(),
        }
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        Ok(Picking { node: self.node, inner: self.inner.serialize_struct(name, len)? })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Picking { node: self.node, inner })
    }
}

impl<S: SerializeStruct> SerializeStruct for Picking<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), S::Error> {
        match self.node.get(key) {
            Some(node) => self.inner.serialize_field(key, &Picked { node, value }),
            None => self.inner.skip_field(key),
        }
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
        self.inner.skip_field(key)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

impl<S: SerializeStructVariant> SerializeStructVariant for Picking<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), S::Error> {
        match self.node.get(key) {
            Some(node) => self.inner.serialize_field(key, &Picked { node, value }),
            None => self.inner.skip_field(key),
        }
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), S::Error> {
        self.inner.skip_field(key)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
