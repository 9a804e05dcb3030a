//! GPT-2's way of writing bytes as printable characters.

use std::collections::HashMap;
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

static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    CHARACTERS
        .iter()
        .enumerate()
        .map(|(byte, character)| (*character, byte as u8))
        .collect()
});

/// The bytes that a token's text stands for. Text with other characters stands for itself.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text
        .chars()
        .map(|character| BYTES.get(&character).copied())
        .collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let text: String = CHARACTERS.iter().collect();
        assert_eq!(decode(&text), (0..=255).collect::<Vec<u8>>());
        assert_eq!(decode("Ġworld"), b" world");
        assert_eq!(decode("<｜x｜>"), "<｜x｜>".as_bytes());
    }
}
