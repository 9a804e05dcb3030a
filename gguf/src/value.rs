//! Metadata values. Arrays stay encoded where they lie, so that a vocabulary costs nothing until it
//! is read.

use std::fmt;

use crate::cursor::Cursor;
use crate::storage::Slice;
use crate::{Error, MAX_ARRAY_DEPTH};

/// The type of a metadata value. The numbers are GGUF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ValueType {
    /// Unsigned, 8 bits.
    U8 = 0,
    /// Signed, 8 bits.
    I8 = 1,
    /// Unsigned, 16 bits.
    U16 = 2,
    /// Signed, 16 bits.
    I16 = 3,
    /// Unsigned, 32 bits.
    U32 = 4,
    /// Signed, 32 bits.
    I32 = 5,
    /// IEEE binary32.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// UTF-8 text.
    String = 8,
    /// Values of one type.
    Array = 9,
    /// Unsigned, 64 bits.
    U64 = 10,
    /// Signed, 64 bits.
    I64 = 11,
    /// IEEE binary64.
    F64 = 12,
}

impl ValueType {
    /// Every type, in the order of their ids.
    pub const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type with this id.
    pub fn from_id(id: u32) -> Option<ValueType> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The name, as Rust would write it.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// The fewest bytes that a value of the type takes; for numbers, exactly that many.
    pub(crate) const fn least_bytes(self) -> usize {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::String => 8,
            ValueType::Array => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Unsigned, 8 bits.
    U8(u8),
    /// Signed, 8 bits.
    I8(i8),
    /// Unsigned, 16 bits.
    U16(u16),
    /// Signed, 16 bits.
    I16(i16),
    /// Unsigned, 32 bits.
    U32(u32),
    /// Signed, 32 bits.
    I32(i32),
    /// IEEE binary32.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// UTF-8 text.
    String(String),
    /// Values of one type.
    Array(Array),
    /// Unsigned, 64 bits.
    U64(u64),
    /// Signed, 64 bits.
    I64(i64),
    /// IEEE binary64.
    F64(f64),
}

impl Value {
    /// The type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The type in words: `u32`, `array of string`.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {}", array.element),
            _ => self.value_type().name().to_owned(),
        }
    }

    /// The value, if it is an integer of any width.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Value::U8(value) => Some(value.into()),
            Value::I8(value) => Some(value.into()),
            Value::U16(value) => Some(value.into()),
            Value::I16(value) => Some(value.into()),
            Value::U32(value) => Some(value.into()),
            Value::I32(value) => Some(value.into()),
            Value::U64(value) => Some(value.into()),
            Value::I64(value) => Some(value.into()),
            _ => None,
        }
    }

    /// The value, if it is a float of either width.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(value) => Some(value.into()),
            Value::F64(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if it is an array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(value) => Some(value),
            _ => None,
        }
    }

    /// Appends the value as GGUF writes it, without its type.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Value::U8(value) => out.push(*value),
            Value::I8(value) => out.extend(value.to_le_bytes()),
            Value::U16(value) => out.extend(value.to_le_bytes()),
            Value::I16(value) => out.extend(value.to_le_bytes()),
            Value::U32(value) => out.extend(value.to_le_bytes()),
            Value::I32(value) => out.extend(value.to_le_bytes()),
            Value::F32(value) => out.extend(value.to_le_bytes()),
            Value::Bool(value) => out.push(u8::from(*value)),
            Value::String(value) => encode_str(value, out),
            Value::Array(value) => value.encode(out),
            Value::U64(value) => out.extend(value.to_le_bytes()),
            Value::I64(value) => out.extend(value.to_le_bytes()),
            Value::F64(value) => out.extend(value.to_le_bytes()),
        }
    }
}

/// Numbers and booleans as they are; strings in quotes; of an array its type and length.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(value) => value.fmt(f),
            Value::I8(value) => value.fmt(f),
            Value::U16(value) => value.fmt(f),
            Value::I16(value) => value.fmt(f),
            Value::U32(value) => value.fmt(f),
            Value::I32(value) => value.fmt(f),
            Value::F32(value) => value.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::String(value) => write!(f, "{value:?}"),
            Value::Array(array) => write!(f, "[{}; {}]", array.element, array.len),
            Value::U64(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
        }
    }
}

/// An array, still encoded. Its lengths were checked when the file was opened; strings are checked
/// to be UTF-8 as they are read.
#[derive(Clone)]
pub struct Array {
    element: ValueType,
    len: usize,
    /// The elements, one after another, as GGUF writes them.
    slice: Slice,
}

impl Array {
    pub(crate) fn new(element: ValueType, len: usize, slice: Slice) -> Self {
        Self {
            element,
            len,
            slice,
        }
    }

    /// An array of strings.
    pub fn from_strings<'a>(strings: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for string in strings {
            encode_str(string, &mut bytes);
            len += 1;
        }
        Self::new(ValueType::String, len, Slice::from_vec(bytes))
    }

    /// An array of arrays.
    pub fn from_arrays<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Self {
        let (mut bytes, mut len) = (Vec::new(), 0);
        for array in arrays {
            array.encode(&mut bytes);
            len += 1;
        }
        Self::new(ValueType::Array, len, Slice::from_vec(bytes))
    }

    /// The type of the elements.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of an array of strings, without copying; `None` for any other array.
    pub fn strings(&self) -> Option<Strings<'_>> {
        self.strings_of("array")
    }

    pub(crate) fn strings_of<'a>(&'a self, key: &'a str) -> Option<Strings<'a>> {
        (self.element == ValueType::String).then(|| Strings {
            key,
            cursor: Cursor::new(self.slice.bytes(), 0),
            base: self.slice.start,
            next: 0,
            len: self.len,
        })
    }

    /// The elements of any array.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Value, Error>> + '_ {
        let bytes = self.slice.bytes();
        let mut cursor = Cursor::new(bytes, 0);
        (0..self.len).map(move |_| match self.element {
            ValueType::Array => {
                let (element, len, start) = skip_array(&mut cursor, "array", 0)?;
                let slice = Slice {
                    storage: self.slice.storage.clone(),
                    start: self.slice.start + start,
                    len: cursor.position() - start,
                };
                Ok(Value::Array(Array::new(element, len, slice)))
            }
            scalar => decode_scalar(&mut cursor, scalar, "array"),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.element as u32).to_le_bytes());
        out.extend((self.len as u64).to_le_bytes());
        out.extend(self.slice.bytes());
    }
}

/// Equal when type, length and encoded bytes are.
impl PartialEq for Array {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element
            && self.len == other.len
            && self.slice.bytes() == other.slice.bytes()
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array([{}; {}])", self.element, self.len)
    }
}

/// The strings of an array, read one by one where they lie.
pub struct Strings<'a> {
    key: &'a str,
    cursor: Cursor<'a>,
    /// Where the array's elements begin in the file.
    base: usize,
    next: usize,
    len: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = Result<&'a str, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.len {
            return None;
        }
        let index = self.next;
        self.next += 1;
        let field = format_args!("element {index} of metadata `{}`", self.key);
        Some(self.cursor.string(field).map_err(|error| match error {
            Error::NotUtf8 { field, offset } => Error::NotUtf8 {
                field,
                offset: offset + self.base as u64,
            },
            other => other,
        }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.len - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

fn encode_str(string: &str, out: &mut Vec<u8>) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string.as_bytes());
}

/// Reads a value of a type other than array.
pub(crate) fn decode_scalar(
    cursor: &mut Cursor<'_>,
    scalar: ValueType,
    key: &str,
) -> Result<Value, Error> {
    let field = format_args!("value of metadata `{key}`");
    Ok(match scalar {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(field)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(field)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(field)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(field)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.array(field)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(field)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(field)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.array(field)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(field)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(field)?)),
        ValueType::String => Value::String(cursor.string(field)?.to_owned()),
        ValueType::Bool => {
            let offset = cursor.position();
            let [byte] = cursor.array(field)?;
            check_bools(&[byte], offset, key)?;
            Value::Bool(byte == 1)
        }
        ValueType::Array => unreachable!("arrays are not decoded but kept as they are"),
    })
}

/// Passes over an array, checking every length in it. Returns the type and number of its elements,
/// and where they begin.
pub(crate) fn skip_array(
    cursor: &mut Cursor<'_>,
    key: &str,
    depth: usize,
) -> Result<(ValueType, usize, usize), Error> {
    let offset = cursor.position() as u64;
    if depth == MAX_ARRAY_DEPTH {
        return Err(Error::NestedTooDeep {
            key: key.to_owned(),
            offset,
        });
    }
    let id = cursor.u32(format_args!("element type of metadata `{key}`"))?;
    let Some(element) = ValueType::from_id(id) else {
        return Err(Error::UnknownValueType {
            key: key.to_owned(),
            offset,
            id,
        });
    };
    let least = element.least_bytes();
    let len = cursor.count(least, format_args!("length of metadata `{key}`"))?;
    let start = cursor.position();
    match element {
        ValueType::String => {
            for index in 0..len {
                cursor.prefixed(format_args!("element {index} of metadata `{key}`"))?;
            }
        }
        ValueType::Array => {
            for _ in 0..len {
                skip_array(cursor, key, depth + 1)?;
            }
        }
        number => {
            let bytes = cursor.take(
                (len * least) as u64,
                format_args!("elements of metadata `{key}`"),
            )?;
            if number == ValueType::Bool {
                check_bools(bytes, start, key)?;
            }
        }
    }
    Ok((element, len, start))
}

fn check_bools(bytes: &[u8], offset: usize, key: &str) -> Result<(), Error> {
    match bytes.iter().position(|byte| *byte > 1) {
        None => Ok(()),
        Some(index) => Err(Error::InvalidBool {
            key: key.to_owned(),
            offset: (offset + index) as u64,
            value: bytes[index],
        }),
    }
}

macro_rules! from_numbers {
    ($($variant:ident($number:ty)),+ $(,)?) => {$(
        impl From<$number> for Value {
            fn from(value: $number) -> Self {
                Value::$variant(value)
            }
        }

        impl From<&[$number]> for Array {
            fn from(values: &[$number]) -> Self {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Array::new(ValueType::$variant, values.len(), Slice::from_vec(bytes))
            }
        }
    )+};
}

from_numbers!(
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    U64(u64),
    I64(i64),
    F64(f64),
);

impl From<&[bool]> for Array {
    fn from(values: &[bool]) -> Self {
        let bytes = values.iter().map(|value| u8::from(*value)).collect();
        Array::new(ValueType::Bool, values.len(), Slice::from_vec(bytes))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::String(value)
    }
}

impl From<Array> for Value {
    fn from(value: Array) -> Self {
        Value::Array(value)
    }
}
