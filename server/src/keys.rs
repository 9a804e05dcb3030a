//! [`Keys`]: who may ask.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// Keys of which a request has to bring one. They are never shown: not in logs, not in errors, not
/// by `Debug`.
#[derive(Clone, Default)]
pub struct Keys(Vec<String>);

impl Keys {
    /// The keys in a file's text: one in each line. Blank lines and those that begin with `#` are
    /// left out.
    ///
    /// # Errors
    /// There is none, or one that no header can carry.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "line {number} is no key: a key has letters, digits and signs of ASCII, and no blank"
                ));
            }
            keys.push(key.to_owned());
        }
        match keys.is_empty() {
            true => Err("there is no key in it; write one in each line".to_owned()),
            false => Ok(Keys(keys)),
        }
    }

    /// Whether no key is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is one of them, in a time that does not tell how much of it is right.
    pub(crate) fn have(&self, given: &str) -> bool {
        let same = |key: &String| key.as_bytes().ct_eq(given.as_bytes());
        let found = self.0.iter().map(same);
        found.fold(Choice::from(0), |any, one| any | one).into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_whole_or_not_at_all_and_never_shown() {
        let keys = Keys::parse("# of June\nsk-one\n\n sk-two \n").unwrap();
        assert!(keys.have("sk-one") && keys.have("sk-two"));
        for wrong in [
            "",
            "sk-on",
            "sk-one ",
            "sk-onE",
            "# of June",
            "sk-onesk-two",
        ] {
            assert!(!keys.have(wrong), "{wrong}");
        }
        assert_eq!(format!("{keys:?}"), "2 keys");
        assert!(!Keys::default().have(""));
    }

    #[test]
    fn a_file_without_a_sound_key_is_refused() {
        for (text, problem) in [("\n# none\n", "no key"), ("a\nb c\n", "line 2")] {
            let refused = Keys::parse(text).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
