//! [`Grammar`]: what an answer may be.

use bitnet_chat_templates::Json;
use llguidance::api::TopLevelGrammar;

use super::error::GrammarError;
use super::limits::{DEEPEST_BRACKETS, LONGEST};
use super::{gbnf, schema};

/// What an answer may be.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Grammar {
    /// JSON that follows a schema; written with `, ` and `: ` and no other blanks. A keyword that
    /// it could not be held to is an error.
    JsonSchema(Json),
    /// Any JSON object.
    JsonObject,
    /// A text that a regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar in llguidance's variant of Lark's syntax. It begins with the rule `start`.
    Lark(String),
    /// A grammar as llama.cpp writes them. It begins with the rule `root`.
    Gbnf(String),
}

impl Grammar {
    /// A grammar in Lark's syntax or llama.cpp's, which alone has `::=` in it.
    pub fn of_text(text: String) -> Grammar {
        match text.contains("::=") {
            true => Grammar::Gbnf(text),
            false => Grammar::Lark(text),
        }
    }

    /// Which of them it is, in one word, and its text: what [`Grammar::of_kind`] takes.
    pub fn written(&self) -> (&'static str, String) {
        match self {
            Grammar::JsonSchema(schema) => ("json_schema", json(schema)),
            Grammar::JsonObject => ("json_object", String::new()),
            Grammar::Regex(text) => ("regex", text.clone()),
            Grammar::Choice(texts) => {
                let texts = texts.iter().map(|text| Json::from(&text[..]));
                ("choice", json(&Json::List(texts.collect())))
            }
            Grammar::Lark(text) => ("lark", text.clone()),
            Grammar::Gbnf(text) => ("gbnf", text.clone()),
        }
    }

    /// The grammar of this kind, by its text; none where there is no such.
    pub fn of_kind(kind: &str, text: &str) -> Option<Grammar> {
        Some(match kind {
            "json_schema" => Grammar::JsonSchema(Json::parse(text).ok()?),
            "json_object" if text.is_empty() => Grammar::JsonObject,
            "regex" => Grammar::Regex(text.to_owned()),
            "choice" => match Json::parse(text).ok()? {
                Json::List(texts) => {
                    let text = |text| match text {
                        Json::Text(text) => Some(text),
                        _ => None,
                    };
                    Grammar::Choice(texts.into_iter().map(text).collect::<Option<_>>()?)
                }
                _ => return None,
            },
            "lark" => Grammar::Lark(text.to_owned()),
            "gbnf" => Grammar::Gbnf(text.to_owned()),
            _ => return None,
        })
    }

    /// As llguidance takes it.
    ///
    /// # Errors
    /// Where it is too long, too deep, empty, or of what is known not to be held to.
    pub(super) fn prepared(&self) -> Result<TopLevelGrammar, GrammarError> {
        Ok(match self {
            Grammar::JsonSchema(schema) => {
                TopLevelGrammar::from_json_schema(schema::prepared(schema)?)
            }
            Grammar::JsonObject => {
                let object = Json::map([("type", Json::from("object"))]);
                TopLevelGrammar::from_json_schema(schema::prepared(&object)?)
            }
            Grammar::Regex(regex) => {
                bounded(regex)?;
                TopLevelGrammar::from_regex(regex)
            }
            Grammar::Choice(texts) => {
                if texts.is_empty() {
                    return Err(GrammarError::Empty);
                }
                let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
                let lark = format!("start: {}", texts.join(" | "));
                bounded(&lark)?;
                TopLevelGrammar::from_lark(lark)
            }
            Grammar::Lark(lark) => {
                bounded(lark)?;
                let most = DEEPEST_BRACKETS;
                match depth(lark) > most {
                    true => return Err(GrammarError::Deep { most }),
                    false => TopLevelGrammar::from_lark(lark.clone()),
                }
            }
            Grammar::Gbnf(text) => {
                bounded(text)?;
                TopLevelGrammar::from_lark(gbnf::to_lark(text)?)
            }
        })
    }
}

/// A text in a grammar, in quotes.
pub(crate) fn literal(text: &str) -> String {
    json(&Json::from(text))
}

fn json(value: &Json) -> String {
    serde_json::json!(value).to_string()
}

fn bounded(text: &str) -> Result<(), GrammarError> {
    if text.len() > LONGEST {
        return Err(GrammarError::Long {
            bytes: text.len(),
            most: LONGEST,
        });
    }
    match text.trim().is_empty() {
        true => Err(GrammarError::Empty),
        false => Ok(()),
    }
}

/// How deep the brackets of a grammar in Lark's syntax stand within each other, without those in
/// texts, expressions, comments and names of tokens.
fn depth(lark: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut signs = lark.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '#' => while signs.next_if(|sign| *sign != '\n').is_some() {},
            '/' if signs.peek() == Some(&'/') => {
                while signs.next_if(|sign| *sign != '\n').is_some() {}
            }
            '"' | '/' => {
                // A text is of one line; what is wrong is told by the parser.
                while let Some(within) = signs.next_if(|it| sign == '/' || *it != '\n') {
                    match within {
                        '\\' => drop(signs.next()),
                        within if within == sign => break,
                        _ => {}
                    }
                }
            }
            '<' => {
                let within = |sign: &char| !sign.is_whitespace() && !"<>".contains(*sign);
                while signs.next_if(within).is_some() {}
            }
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brackets_of_the_grammar_itself_count_as_deep() {
        assert_eq!(depth("start: (\"(((\" | /[(]{2}/ | [a]) // ((("), 2);
        assert_eq!(depth("start: (\")\" (\")\" (\"a\"))) # ("), 3);
        assert_eq!(depth("a: /x\\/(/ (b)"), 1);
        assert_eq!(depth("a: ((/\n))/ (<[7]> (<\"> (b))))"), 5);
    }

    #[test]
    fn a_grammar_is_what_it_was_once_it_is_written_and_read() {
        for grammar in [
            Grammar::JsonSchema(Json::parse(r#"{"b": 1, "a": [true, null, 0.5]}"#).unwrap()),
            Grammar::JsonObject,
            Grammar::Regex("a+".to_owned()),
            Grammar::Choice(vec!["a\"b".to_owned(), String::new()]),
            Grammar::Lark("start: \"a\"".to_owned()),
            Grammar::Gbnf("root ::= \"a\"".to_owned()),
        ] {
            let (kind, text) = grammar.written();
            assert_eq!(Grammar::of_kind(kind, &text), Some(grammar));
        }
        assert_eq!(Grammar::of_kind("json_object", "{}"), None);
        assert_eq!(Grammar::of_kind("xml", ""), None);
    }
}
