//! A SHA256 as people write it: 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

/// A SHA256 digest; prints and compares as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hex([u8; 32]);

/// Text that is not a SHA256.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a SHA256 has 64 hexadecimal digits; found {0:?}")]
pub struct Sha256HexError(String);

impl Sha256Hex {
    pub(super) fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl FromStr for Sha256Hex {
    type Err = Sha256HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || Sha256HexError(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Sha256Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Sha256Hex;

    #[test]
    fn only_64_hex_digits_are_a_sha256_and_case_does_not_matter() {
        let upper = "AB".repeat(32);
        let sha: Sha256Hex = upper.parse().expect("64 digits");
        assert_eq!(sha.to_string(), upper.to_lowercase());
        for wrong in [
            "",
            "ab",
            &"ab".repeat(31),
            &"ab".repeat(33),
            &"a".repeat(63),
            &"xy".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<Sha256Hex>().is_err(), "{wrong:?}");
        }
    }
}
