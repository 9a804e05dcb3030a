//! The table of word rules: what each name in `tokenizer.ggml.pre` stands for.
//!
//! The names are those of llama.cpp (`llama-vocab.cpp`; `tests/data/llama_cpp_pre.txt` lists them)
//! and of bitnet.cpp. The expressions are those of the models' own `tokenizer.json` where
//! llama.cpp quotes them, else llama.cpp's.

use super::digits::Digits;
use super::expression::{Expression, Step};
use super::scan::{self, Scan};
use super::split::PreTokenizer;
use crate::Error;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
const LLAMA3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const QWEN2: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const QWEN35: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|",
    r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const SEED_CODER: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+"
);
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Behind a step that cuts digits.
const MINICPM5: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const EXAONE_MOE: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|",
    r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|",
    r"\s*[\r\n]|\s+"
);
/// tiktoken's, which `tokenizer.json` files of its users quote.
const O200K: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
);
/// The same with single digits.
const YOUTU: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
);
/// The same with single digits and without contractions.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
);
/// The same, with Chinese characters apart (the model's `tokenization_kimi.py`).
const KIMI_K2: &str = concat!(
    r"\p{Han}+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const CJK: &str = "[一-龥ࠀ-一가-퟿]+";
const KANA: &str = "[一-龥぀-ゟ゠-ヿ]+";
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+"
);
const SPARK: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+"
);
/// The third range begins where llama.cpp's does.
const AFMOE_SCRIPTS: &str = concat!(
    "[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{8c48}-\u{faff}\u{3040}-\u{309f}\u{30a0}-\u{30ff}",
    "\u{ff65}-\u{ff9f}\u{2f00}-\u{2fdf}\u{e40}-\u{e7f}\u{e80}-\u{eff}\u{1780}-\u{17ff}",
    "\u{1000}-\u{109f}\u{aa60}-\u{aa7f}\u{a9e0}-\u{a9ff}\u{ac00}-\u{d7af}\u{1100}-\u{11ff}]+"
);
const YOUTU_SCRIPTS: &str = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+";

/// What names stand for.
struct Rule {
    names: &'static [&'static str],
    /// To apply in order, behind `digits`.
    expressions: &'static [&'static str],
    /// The same by hand.
    by_hand: Option<Scan>,
    digits: Option<Digits>,
    /// Whether long runs of spaces are cut, at the end.
    spaces: bool,
    whole_words: bool,
    add_bos: bool,
}

impl Rule {
    const fn new(names: &'static [&'static str], expressions: &'static [&'static str]) -> Rule {
        Rule {
            names,
            expressions,
            by_hand: None,
            digits: None,
            spaces: false,
            whole_words: false,
            add_bos: false,
        }
    }

    const fn by_hand(self, scan: Scan) -> Rule {
        Rule {
            by_hand: Some(scan),
            ..self
        }
    }

    /// With digits cut before the expressions apply.
    const fn digits(self, digits: Digits) -> Rule {
        Rule {
            digits: Some(digits),
            ..self
        }
    }

    /// With runs of spaces cut into powers of two.
    const fn spaces_in_powers(self) -> Rule {
        Rule {
            spaces: true,
            ..self
        }
    }

    /// A word that is a token needs no merges.
    const fn whole_words(self) -> Rule {
        Rule {
            whole_words: true,
            ..self
        }
    }

    /// A text begins with the BOS token where the file does not say.
    const fn add_bos(self) -> Rule {
        Rule {
            add_bos: true,
            ..self
        }
    }

    fn steps(&self) -> Result<PreTokenizer, Error> {
        let mut steps = Vec::new();
        steps.extend(self.digits.map(Step::Digits));
        for expression in self.expressions {
            steps.push(Step::Expression(Expression::new(expression)?));
        }
        steps.extend(self.spaces.then_some(Step::Spaces));
        Ok(PreTokenizer::Steps(steps))
    }
}

const RULES: &[Rule] = &[
    Rule::new(
        &["default"],
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
    Rule::new(
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            // bitnet.cpp's converter, for Falcon-E.
            "falcon_e",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        &[LLAMA3],
    )
    .by_hand(scan::LLAMA3_GGUF)
    .whole_words()
    .add_bos(),
    Rule::new(&["dbrx", "smaug-bpe", "chatglm-bpe"], &[LLAMA3]).by_hand(scan::LLAMA3_GGUF),
    Rule::new(&["glm4", "glm5"], &[LLAMA3])
        .by_hand(scan::LLAMA3_GGUF)
        .whole_words(),
    Rule::new(&["minicpm5"], &[r"\p{N}{1,3}", MINICPM5]).whole_words(),
    Rule::new(&["jais-2"], &[LLAMA3]).spaces_in_powers(),
    Rule::new(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        &[GPT2],
    ),
    Rule::new(
        &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT2],
    ),
    Rule::new(
        &[
            "qwen2",
            "stablelm2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "hunyuan",
            "solar-open",
            "grok-2",
            // Their expressions are written otherwise and match the same.
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        &[QWEN2],
    )
    .by_hand(scan::QWEN2_GGUF),
    Rule::new(&["qwen35"], &[QWEN35]).by_hand(scan::QWEN35),
    Rule::new(&["seed-coder"], &[SEED_CODER]).by_hand(scan::SEED_CODER),
    Rule::new(&["ufakzeka"], &[UFAKZEKA]).by_hand(scan::UFAKZEKA),
    Rule::new(&["laguna"], &[r"[^\n]+|[\n]+", QWEN2]),
    Rule::new(&["exaone-moe"], &[EXAONE_MOE]),
    // llama.cpp counts every letter outside ASCII as upper and lower case; the models were trained
    // with the classes of Unicode.
    Rule::new(
        &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        &[O200K],
    )
    .by_hand(scan::O200K),
    Rule::new(&["granite-embed-multi-97m"], &[O200K])
        .by_hand(scan::O200K)
        .whole_words(),
    Rule::new(&["tiny_aya", "cohere2moe"], &[O200K]).digits(Digits::BeforeBoundary),
    Rule::new(&["tekken"], &[TEKKEN])
        .by_hand(scan::TEKKEN)
        .whole_words()
        .add_bos(),
    Rule::new(&["youtu"], &[YOUTU_SCRIPTS, YOUTU]).whole_words(),
    Rule::new(&["kimi-k2"], &[KIMI_K2]),
    Rule::new(&["superbpe"], &[]).digits(Digits::All),
    Rule::new(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    ),
    // Both cut what lies between U+0800 and U+4E00 off, white space like U+2028 and U+3000 too, as
    // Hugging Face's tokenizer does with the models' own files. llama.cpp puts a vertical tab for
    // white space outside ASCII before it applies an expression, so that those classes miss it.
    Rule::new(
        &["deepseek-llm"],
        &[
            "[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CJK,
            r"\p{N}+",
        ],
    ),
    Rule::new(
        &["deepseek-coder"],
        &["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    ),
    Rule::new(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", KANA, DEEPSEEK3],
    ),
    Rule::new(&["spark2_5"], &[r"\p{N}{1,3}", KANA, SPARK, r"\p{N}"]),
    Rule::new(&["afmoe"], &[AFMOE_SCRIPTS, DEEPSEEK3]).digits(Digits::All),
    Rule::new(&["poro-chat", "bloom", "gpt3-finnish"], &[BLOOM]),
    Rule::new(&["viking"], &[BLOOM, r"\p{N}"]),
    Rule::new(
        &["chameleon"],
        &[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            "([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ],
    )
    .add_bos(),
];

/// Names of llama.cpp that are refused: their vocabularies merge characters instead of bytes.
const REFUSED: &[&str] = &[
    "gemma4",
    "granite-embed-multi-311m",
    "mmbert",
    "sarvam-moe",
    "whitespace",
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

/// Every name that has a rule.
fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().flat_map(|rule| rule.names).copied()
}

impl PreTokenizer {
    /// The rule of that name.
    ///
    /// # Errors
    /// [`Error::UnknownPreTokenizer`] and [`Error::CharacterMerges`].
    pub(crate) fn named(name: &str) -> Result<Named, Error> {
        if REFUSED.contains(&name) {
            return Err(Error::CharacterMerges {
                found: name.to_owned(),
            });
        }
        let rule = RULES.iter().find(|rule| rule.names.contains(&name));
        let rule = rule.ok_or_else(|| Error::UnknownPreTokenizer {
            found: name.to_owned(),
            known: names().collect::<Vec<_>>().join(", "),
        })?;
        let by_hand = rule.by_hand.map(PreTokenizer::Scan);
        Ok(Named {
            rule: by_hand.map_or_else(|| rule.steps(), Ok)?,
            whole_words: rule.whole_words,
            add_bos: rule.add_bos,
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
}

#[cfg(test)]
mod tests {

    use bitnet_fixtures::Noise;

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
    const O200K_TIKTOKEN: &str = concat!(
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
        let mut noise = Noise::new(1);
        let mut random = move |below: usize| noise.below(below as u32) as usize;
        (0..count).map(move |_| {
            let len = 1 + random(longest);
            (0..len)
                .map(|_| CHARACTERS[random(CHARACTERS.len())])
                .collect()
        })
    }

    #[test]
    fn rules_by_hand_cut_as_their_expressions() {
        // They have their look-aheads.
        let theirs = |expression: &str| {
            let expression = Expression::verbatim(expression).unwrap();
            PreTokenizer::Steps(vec![Step::Expression(expression)])
        };
        let mut pairs = vec![
            ("cl100k", scan::CL100K, theirs(CL100K)),
            ("o200k", scan::O200K, theirs(O200K_TIKTOKEN)),
            ("llama3", scan::LLAMA3, theirs(LLAMA3_META)),
        ];
        for rule in RULES {
            if let Some(scan) = rule.by_hand
                && pairs[3..].iter().all(|(_, other, _)| *other != scan)
            {
                pairs.push((rule.names[0], scan, rule.steps().unwrap()));
            }
        }
        assert_eq!(pairs.len(), 10);
        for (name, hand, expressions) in pairs {
            for text in texts(12, 60_000) {
                let by_hand: Vec<_> = hand.words(&text).map(|word| &text[word]).collect();
                let expected = expressions.split(&text).unwrap();
                let expected: Vec<_> = expected.map(|word| &text[word]).collect();
                assert_eq!(by_hand, expected, "{name}: {text:?}");
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

    const JAIS2: &str = concat!(
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|",
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|",
        r"\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|",
        r"\s{1,2}(?!\S)|\s{1}"
    );

    #[test]
    fn steps_cut_as_the_expressions_with_look_aheads() {
        let verbatim = |expression| Step::Expression(Expression::verbatim(expression).unwrap());
        let digits = r"\d{1,3}(?=(?:\d{3})*\b)";
        for (steps, expression) in [
            (PreTokenizer::named("jais-2").unwrap().rule, JAIS2),
            (
                PreTokenizer::Steps(vec![Step::Digits(Digits::BeforeBoundary)]),
                digits,
            ),
        ] {
            let expression = PreTokenizer::Steps(vec![verbatim(expression)]);
            let runs = texts(12, 20_000).map(|text| {
                let long = text.replace('a', "      ").replace('s', "12345");
                long.replace('_', &" ".repeat(700))
            });
            for text in runs.chain(texts(12, 20_000)) {
                let ours: Vec<_> = steps.split(&text).unwrap().collect();
                let theirs: Vec<_> = expression.split(&text).unwrap().collect();
                assert_eq!(ours, theirs, "{text:?}");
            }
        }
    }

    /// Pieces that Hugging Face's `tokenizers` 0.23 gives with the steps of the models' files.
    #[test]
    fn wide_white_space_is_cut_as_hugging_face_cuts_it() {
        for (text, llm, coder) in [
            (
                "a\u{3000}b",
                &["a", "\u{3000}", "b"][..],
                &["a", "\u{3000}", "b"][..],
            ),
            (
                "x \u{2028}y",
                &["x", " ", "\u{2028}", "y"],
                &["x", " ", "\u{2028}", "y"],
            ),
        ] {
            assert_eq!(words("deepseek-llm", text), llm);
            assert_eq!(words("deepseek-coder", text), coder);
        }
    }

    /// Names of llama.cpp at the version of the lane.
    const LLAMA_CPP: &str = include_str!("../../tests/data/llama_cpp_pre.txt");

    #[test]
    fn every_name_of_llama_cpp_has_a_rule_or_is_refused_by_name() {
        assert!(LLAMA_CPP.lines().count() >= 92);
        for name in LLAMA_CPP.lines() {
            match PreTokenizer::named(name) {
                Ok(_) => assert!(!REFUSED.contains(&name)),
                Err(error) => assert!(
                    matches!(&error, Error::CharacterMerges { found } if found == name),
                    "{name}: {error}"
                ),
            }
        }
    }
}
