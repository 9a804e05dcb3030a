//! Reads everything that an open file offers. The fuzz target uses this module too.

use bitnet_gguf::{Gguf, Value};

/// Reads everything there is in an open file. What it holds may be wrong, but must not panic.
pub(crate) fn touch_all(gguf: &Gguf) {
    fn touch(value: &Value) {
        let _ = value.to_string();
        if let Value::Array(array) = value {
            if let Some(strings) = array.strings() {
                for string in strings {
                    let _ = string;
                }
            }
            for element in array.iter().flatten() {
                touch(&element);
            }
        }
    }
    let metadata = gguf.metadata();
    for (key, value) in metadata.iter() {
        touch(value);
        let _ = metadata.u32(key);
        let _ = metadata.f32_array(key);
        let _ = metadata.i32_array(key);
    }
    for tensor in gguf.tensors() {
        if let Ok(data) = gguf.data(tensor) {
            let _ = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        }
    }
}
