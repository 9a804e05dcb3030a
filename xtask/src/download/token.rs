//! The Hugging Face access token: read from the environment, checked for form, never printed.

use std::fmt;

/// A token that may be sent as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The environment holds something that cannot be a token.
#[derive(Debug, thiserror::Error)]
#[error(
    "HF_TOKEN does not look like a Hugging Face token: {reason}\n\n\
     Solution:\n  \
     1. Generate a token: https://huggingface.co/settings/tokens\n  \
     2. Export it: export HF_TOKEN=<your-token>\n  \
     3. Or do without: unset HF_TOKEN"
)]
pub struct TokenFormatError {
    reason: &'static str,
}

impl Token {
    /// The token in `HF_TOKEN`; `None` if that is unset or empty.
    ///
    /// # Errors
    /// It is set, but no server would accept it.
    pub fn from_env() -> Result<Option<Self>, TokenFormatError> {
        match std::env::var("HF_TOKEN") {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Self::parse(text.trim()).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(TokenFormatError {
                reason: "it is not text",
            }),
        }
    }

    fn parse(text: &str) -> Result<Self, TokenFormatError> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenFormatError {
                reason: "it holds spaces or control characters",
            });
        }
        if !(text.starts_with("hf_") || text.starts_with("api_")) {
            return Err(TokenFormatError {
                reason: "it does not begin with hf_",
            });
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_that_no_server_would_take_is_refused_and_none_is_printed() {
        for wrong in ["secret", "hf_with space", "hf_line\nbreak", "Bearer hf_x"] {
            let error = Token::parse(wrong).expect_err(wrong);
            assert!(
                !error.to_string().contains(wrong),
                "the message must not repeat the token"
            );
        }
        let token = Token::parse("hf_abc").expect("a token");
        assert_eq!(token.bearer(), "Bearer hf_abc");
        assert!(!format!("{token:?}").contains("abc"));
    }
}
