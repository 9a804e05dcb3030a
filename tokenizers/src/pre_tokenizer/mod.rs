//! Rules for cutting text into words before byte pairs are merged, by the names of
//! `tokenizer.ggml.pre`.
//!
//! The expressions are those of llama.cpp (`llama-vocab.cpp`). Several are applied one after
//! another: each cuts the pieces that the one before left, and what an expression does not match
//! stays a piece of its own.
//!
//! The rules of the largest vocabularies are also there by hand ([`scan`]), several times as fast.
//!
//! Where llama.cpp writes `\s+(?!\S)` (spaces, but the last one belongs to the word behind them),
//! the expression here says `\s+` and [`Expression::back_off`] gives the last space back. Without
//! the look-ahead an expression needs no backtracking, whose stack a run of a million letters or
//! spaces overflows.

mod classes;
mod scan;

use std::ops::Range;

use fancy_regex::Regex;
use scan::Scan;

pub(crate) use scan::Words;

use crate::Error;

/// A rule.
#[derive(Debug)]
pub(crate) enum PreTokenizer {
    /// One that is there by hand.
    Scan(Scan),
    /// Expressions to apply in order.
    Expressions(Vec<Expression>),
}

/// An expression, and which white space at the end of a match belongs to what follows.
#[derive(Debug)]
pub(crate) struct Expression {
    regex: Regex,
    gives_back: fn(char) -> bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
const CJK: &str = "[一-龥ࠀ-一가-퟿]+";
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";

/// What a name stands for.
struct Rule {
    names: &'static [&'static str],
    expressions: &'static [&'static str],
    /// The same by hand.
    scan: Option<Scan>,
    whole_words: bool,
    add_bos: bool,
}

const RULES: &[Rule] = &[
    Rule {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
        ],
        expressions: &[LLAMA3],
        scan: Some(scan::LLAMA3_GGUF),
        whole_words: true,
        add_bos: true,
    },
    Rule {
        names: &["dbrx", "smaug-bpe"],
        expressions: &[LLAMA3],
        scan: Some(scan::LLAMA3_GGUF),
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "mpt",
            "olmo",
            "jais",
        ],
        expressions: &[GPT2],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
        ],
        expressions: &[r"\p{N}", GPT2],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &["qwen2", "stablelm2", "deepseek-r1-qwen"],
        expressions: &[QWEN2],
        scan: Some(scan::QWEN2_GGUF),
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &["falcon"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &["deepseek-llm"],
        expressions: &[
            "[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CJK,
            r"\p{N}+",
        ],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
    Rule {
        names: &["deepseek-coder"],
        expressions: &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
        scan: None,
        whole_words: false,
        add_bos: false,
    },
];

/// A rule with what comes with its name.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) rule: PreTokenizer,
    /// Whether a word that is a token needs no merges.
    pub(crate) whole_words: bool,
    /// Whether a text begins with the BOS token where the file does not say.
    pub(crate) add_bos: bool,
}

impl PreTokenizer {
    /// The rule of that name.
    pub(crate) fn named(name: &str) -> Result<Named, Error> {
        let rule = RULES
            .iter()
            .find(|rule| rule.names.contains(&name))
            .ok_or_else(|| Error::UnknownPreTokenizer {
                found: name.to_owned(),
                known: RULES
                    .iter()
                    .flat_map(|rule| rule.names)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        let by_hand = rule.scan.map(PreTokenizer::Scan);
        let Rule {
            whole_words,
            add_bos,
            ..
        } = *rule;
        Ok(Named {
            rule: by_hand.map_or_else(|| rule.expressions(), Ok)?,
            whole_words,
            add_bos,
        })
    }

    /// `cl100k_base`'s.
    pub(crate) const fn cl100k() -> PreTokenizer {
        PreTokenizer::Scan(scan::CL100K)
    }

    /// `o200k_base`'s.
    pub(crate) const fn o200k() -> PreTokenizer {
        PreTokenizer::Scan(scan::O200K)
    }

    /// LLaMA-3's, as its makers have it.
    pub(crate) const fn llama3() -> PreTokenizer {
        PreTokenizer::Scan(scan::LLAMA3)
    }

    /// Cuts `text` into words.
    pub(crate) fn split<'a>(&self, text: &'a str) -> Result<Split<'a>, Error> {
        Ok(match self {
            PreTokenizer::Scan(scan) => Split::Scan(scan.words(text)),
            PreTokenizer::Expressions(expressions) => {
                Split::Cut(cut(expressions, text)?.into_iter())
            }
        })
    }
}

/// The words of a text, in order.
pub(crate) enum Split<'a> {
    Scan(Words<'a>),
    Cut(std::vec::IntoIter<Range<usize>>),
}

impl Iterator for Split<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        match self {
            Split::Scan(words) => words.next(),
            Split::Cut(words) => words.next(),
        }
    }
}

impl Rule {
    fn expressions(&self) -> Result<PreTokenizer, Error> {
        let expressions = self.expressions.iter().map(|text| Expression::new(text));
        Ok(PreTokenizer::Expressions(
            expressions.collect::<Result<_, _>>()?,
        ))
    }
}

/// Cuts `text` by one expression after another.
fn cut(expressions: &[Expression], text: &str) -> Result<Vec<Range<usize>>, Error> {
    let whole = 0..text.len();
    let mut pieces = Vec::from([whole]);
    for expression in expressions {
        let mut cut = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let within = &text[piece.clone()];
            let mut end = 0;
            while let Some(found) = expression
                .regex
                .find_from_pos(within, end)
                .map_err(|error| Error::Encode(error.to_string()))?
            {
                let word = found.start()..expression.back_off(within, found.range());
                if word.start > end {
                    cut.push(piece.start + end..piece.start + word.start);
                }
                cut.push(piece.start + word.start..piece.start + word.end);
                end = word.end;
            }
            if end < within.len() {
                cut.push(piece.start + end..piece.end);
            }
        }
        pieces = cut;
    }
    Ok(pieces)
}

impl Expression {
    fn new(expression: &str) -> Result<Expression, Error> {
        let regex = Regex::new(expression)
            .map_err(|error| Error::Vocabulary(format!("pre-tokenizer expression: {error}")))?;
        let takes_line_breaks = expression.contains(r"\s*[\r\n]+");
        let gives_back: fn(char) -> bool = match expression.ends_with(r"|\s+") {
            true if takes_line_breaks => |c| c.is_whitespace() && !matches!(c, '\r' | '\n'),
            true => char::is_whitespace,
            false => |_| false,
        };
        Ok(Expression { regex, gives_back })
    }

    /// The end of a match without its last space, if it has more than that one and text follows.
    fn back_off(&self, text: &str, found: Range<usize>) -> usize {
        let last = text[found.clone()].chars().next_back();
        match last {
            Some(last)
                if (self.gives_back)(last)
                    && found.len() > last.len_utf8()
                    && found.end < text.len() =>
            {
                found.end - last.len_utf8()
            }
            _ => found.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        let rule = PreTokenizer::named(name).unwrap().rule;
        rule.split(text).unwrap().map(|word| &text[word]).collect()
    }

    #[test]
    fn every_rule_compiles_and_loses_nothing() {
        let text = "I'll say 12345 «étés»,\r\n\n  日本語 \u{3000}x!! \t";
        for name in RULES.iter().flat_map(|rule| rule.names) {
            assert_eq!(words(name, text).concat(), text, "{name}");
        }
    }

    #[test]
    fn words_are_those_of_the_rule() {
        assert_eq!(words("gpt-2", "a  b's 12"), ["a", " ", " b", "'s", " 12"]);
        assert_eq!(
            words("llama-bpe", "x 12345\n\ny"),
            ["x", " ", "123", "45", "\n\n", "y"]
        );
        assert_eq!(words("starcoder", "v12"), ["v", "1", "2"]);
        assert_eq!(words("gpt-2", "a \n\nb\n"), ["a", " \n", "\n", "b", "\n"]);
        assert_eq!(
            words("llama-bpe", "a \n  b  "),
            ["a", " \n", " ", " b", "  "]
        );
    }

    #[test]
    fn a_run_of_millions_of_bytes_is_one_word() {
        for unit in ["a", "\u{e9}", "1", "!", " ", "\n"] {
            let text = unit.repeat(1_200_000);
            for name in RULES.iter().map(|rule| rule.names[0]) {
                assert_eq!(words(name, &text).concat().len(), text.len(), "{name}");
            }
            if unit != "1" {
                assert_eq!(words("llama-bpe", &text), [text.as_str()]);
            }
        }
    }

    /// tiktoken's expressions (`tiktoken_ext/openai_public.py`).
    const CL100K: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
    const O200K: &str = concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    );
    const LLAMA3_META: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// Texts of every length up to `longest` from characters of every class that a rule tells
    /// apart.
    fn texts(longest: usize, count: usize) -> impl Iterator<Item = String> {
        const CHARACTERS: [&str; 34] = [
            "a", "b", "s", "l", "A", "S", "R", "e", "E", "1", "2", " ", " ", "\n", "\r", "\t", "'",
            "'", "!", "/", "_", "é", "É", "ǅ", "ʰ", "日", "\u{301}", "\u{17f}", "½", "\u{a0}",
            "\u{2028}", "😀", "\u{200d}", "'re",
        ];
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        (0..count).map(move |_| {
            let len = 1 + random(longest);
            (0..len)
                .map(|_| CHARACTERS[random(CHARACTERS.len())])
                .collect()
        })
    }

    #[test]
    fn rules_by_hand_cut_as_their_expressions() {
        let own = |rule: &str| {
            let all = RULES.iter().find(|r| r.names.contains(&rule)).unwrap();
            all.expressions().unwrap()
        };
        // They have their look-aheads.
        let theirs = |expression: &str| {
            PreTokenizer::Expressions(vec![Expression {
                regex: Regex::new(expression).unwrap(),
                gives_back: |_| false,
            }])
        };
        for (name, hand, expressions) in [
            ("cl100k", scan::CL100K, theirs(CL100K)),
            ("o200k", scan::O200K, theirs(O200K)),
            ("llama3", scan::LLAMA3, theirs(LLAMA3_META)),
            ("llama-bpe", scan::LLAMA3_GGUF, own("llama-bpe")),
            ("qwen2", scan::QWEN2_GGUF, own("qwen2")),
        ] {
            for text in texts(12, 60_000) {
                let by_hand: Vec<_> = hand.words(&text).map(|word| &text[word]).collect();
                let expected: Vec<_> = expressions
                    .split(&text)
                    .unwrap()
                    .map(|word| &text[word])
                    .collect();
                assert_eq!(by_hand, expected, "{name}: {text:?}");
            }
        }
    }

    #[test]
    fn classes_are_those_of_the_expressions() {
        let all: String = (0..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .collect();
        for (expression, class) in [
            (r"\p{L}", classes::LETTER),
            (r"[\p{Lu}\p{Lt}]", classes::UPPER),
            (r"\p{Ll}", classes::LOWER),
            (r"[\p{Lm}\p{Lo}]", classes::CASELESS),
            (r"\p{M}", classes::MARK),
            (r"\p{N}", classes::NUMBER),
            (r"\s", classes::SPACE),
            (r"[\r\n]", classes::LINE_BREAK),
        ] {
            let regex = Regex::new(expression).unwrap();
            let matched: std::collections::HashSet<usize> = regex
                .find_iter(&all)
                .map(|found| found.unwrap().start())
                .collect();
            for (at, character) in all.char_indices() {
                let (classes, len) = classes::CLASSES.at(all.as_bytes(), at);
                assert_eq!(len, character.len_utf8());
                assert_eq!(
                    classes & class != 0,
                    matched.contains(&at),
                    "{character:?} in {expression}"
                );
            }
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        let error = PreTokenizer::named("nope").unwrap_err().to_string();
        assert!(
            error.contains("`nope`") && error.contains("llama-bpe"),
            "{error}"
        );
    }
}
