//! GPT-2's way of writing bytes as printable characters.

use std::sync::LazyLock;

/// The character for each byte: printable ones stand for themselves, the rest for U+0100 onwards.
static CHARACTERS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if printable(byte) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).unwrap_or_default()
    })
});

/// The byte for each of these characters, which all lie below U+0180; [`NONE`] for others.
static BYTES: LazyLock<[u16; 0x180]> = LazyLock::new(|| {
    let mut bytes = [NONE; 0x180];
    for (byte, character) in (0..).zip(*CHARACTERS) {
        bytes[character as usize] = byte;
    }
    bytes
});

const NONE: u16 = u16::MAX;

/// Appends the bytes that a token's text stands for. Text with other characters stands for itself.
pub(crate) fn decode(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    let table = &*BYTES;
    for character in text.chars() {
        match table
            .get(character as usize)
            .map(|byte| u8::try_from(*byte))
        {
            Some(Ok(byte)) => out.push(byte),
            _ => {
                out.truncate(start);
                out.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let text: String = CHARACTERS.iter().collect();
        let bytes = |text: &str| {
            let mut out = b"before".to_vec();
            decode(text, &mut out);
            out.split_off(6)
        };
        assert_eq!(bytes(&text), (0..=255).collect::<Vec<u8>>());
        assert_eq!(bytes("Ġworld"), b" world");
        assert_eq!(bytes("a<｜x｜>"), "a<｜x｜>".as_bytes());
    }
}
