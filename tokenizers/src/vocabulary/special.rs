//! Special tokens: those that are found in text as a whole, and the ids with a meaning.

/// Ids with a meaning.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialIds {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    /// Ascending.
    pub(crate) end_of_generation: Vec<u32>,
    /// Whether texts begin with `bos` by default.
    pub(crate) add_bos: bool,
}

/// A stretch of text, or a token found in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment<'a> {
    Text(&'a str),
    Token(u32),
}

/// Tokens to look for: those that always are, and those that only are when special tokens are to be
/// parsed.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialTokens {
    /// `(text, id, always)`, longest text first.
    tokens: Vec<(String, u32, bool)>,
    /// Whether one of them is looked for in any case.
    always: bool,
}

impl SpecialTokens {
    /// From `(text, id, always)`; empty texts are left out.
    pub(crate) fn new(mut tokens: Vec<(String, u32, bool)>) -> SpecialTokens {
        tokens.retain(|(text, ..)| !text.is_empty());
        tokens.sort_by_key(|(text, id, _)| (std::cmp::Reverse(text.len()), *id));
        let always = tokens.iter().any(|(.., always)| *always);
        SpecialTokens { tokens, always }
    }

    /// Whether there is a token to look for.
    pub(crate) fn any(&self, parse: bool) -> bool {
        match parse {
            true => !self.tokens.is_empty(),
            false => self.always,
        }
    }

    /// `(text, id, always)`, longest text first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u32, bool)> {
        let tokens = self.tokens.iter();
        tokens.map(|(text, id, always)| (text.as_str(), *id, *always))
    }

    /// Cuts `text` at the tokens in it; longer tokens go first.
    pub(crate) fn split<'a>(&self, text: &'a str, parse: bool) -> Vec<Fragment<'a>> {
        self.split_at(text, |_, always| parse || always)
    }

    /// Cuts `text` at those tokens in it that `wanted` names, by text and whether they are always
    /// looked for.
    pub(crate) fn split_at<'a>(
        &self,
        text: &'a str,
        wanted: impl Fn(&str, bool) -> bool,
    ) -> Vec<Fragment<'a>> {
        let mut fragments = vec![Fragment::Text(text)];
        for (token, id, always) in &self.tokens {
            if !text.contains(token.as_str()) || !wanted(token, *always) {
                continue;
            }
            fragments = fragments
                .into_iter()
                .flat_map(|fragment| cut(fragment, token, *id))
                .collect();
        }
        fragments
    }
}

fn cut<'a>(fragment: Fragment<'a>, token: &str, id: u32) -> Vec<Fragment<'a>> {
    let Fragment::Text(text) = fragment else {
        return vec![fragment];
    };
    let mut out = Vec::new();
    let mut end = 0;
    for (at, _) in text.match_indices(token) {
        if at > end {
            out.push(Fragment::Text(&text[end..at]));
        }
        out.push(Fragment::Token(id));
        end = at + token.len();
    }
    if end < text.len() {
        out.push(Fragment::Text(&text[end..]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_tokens_go_first_and_special_ones_only_when_asked() {
        let tokens = SpecialTokens::new(vec![
            ("<a>".into(), 1, false),
            ("<a><b>".into(), 2, false),
            ("!!".into(), 3, true),
        ]);
        use Fragment::{Text, Token};
        assert_eq!(
            tokens.split("x<a><b>y<a>!!", true),
            [Text("x"), Token(2), Text("y"), Token(1), Token(3)]
        );
        assert_eq!(
            tokens.split("x<a>!!y", false),
            [Text("x<a>"), Token(3), Text("y")]
        );
        assert_eq!(tokens.split("", true), [Text("")]);
    }
}
