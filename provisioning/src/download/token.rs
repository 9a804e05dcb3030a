//! The Hugging Face access token: checked for form, never printed.

use std::fmt;

/// A token that may be sent as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    saved: bool,
}

/// Text that cannot be a token. The message does not repeat it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it holds spaces or control characters, or others than ASCII")]
pub struct TokenFormatError;

impl Token {
    /// The token that a user gave for this run; `None` if the text is empty.
    ///
    /// # Errors
    /// No server would accept it.
    pub fn given(text: &str) -> Result<Option<Self>, TokenFormatError> {
        Self::parse(text, false)
    }

    /// The token that an earlier login left in a file; `None` if the text is empty. As it may have
    /// expired, a server that refuses it is asked once more without it.
    ///
    /// # Errors
    /// No server would accept it.
    pub fn saved(text: &str) -> Result<Option<Self>, TokenFormatError> {
        Self::parse(text, true)
    }

    fn parse(text: &str, saved: bool) -> Result<Option<Self>, TokenFormatError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenFormatError);
        }
        Ok((!text.is_empty()).then(|| Self {
            text: text.to_owned(),
            saved,
        }))
    }

    /// Whether an earlier login left it.
    pub(super) fn is_saved(&self) -> bool {
        self.saved
    }

    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
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
    fn any_form_of_token_is_taken_but_what_no_header_can_hold() {
        for text in ["hf_abc", "api_org_x", "hf_oauth_eyJ.a-b_c==", " secret\n"] {
            let token = Token::given(text).expect("a token").expect("not empty");
            assert_eq!(token.bearer(), format!("Bearer {}", text.trim()));
            assert!(!format!("{token:?}").contains(text.trim()));
        }
        assert_eq!(Token::saved(" \n"), Ok(None));
        for wrong in ["hf_with space", "hf_line\nbreak", "Bearer hf_x", "hf_é"] {
            let error = Token::given(wrong).expect_err(wrong);
            assert!(!error.to_string().contains(wrong));
        }
    }
}
