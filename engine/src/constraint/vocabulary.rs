//! [`Vocabulary`]: a tokenizer's tokens as grammars see them.

use std::sync::Arc;

use bitnet_tokenizers::{Encode, Special, TokenKind, Tokenizer};
use llguidance::api::ParserLimits;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};

use super::error::GrammarError;
use super::grammar::Grammar;

/// Stack for preparing a grammar, whose parts are read within each other.
const STACK: usize = 64 << 20;
/// States of a lexer, of a kilobyte or two each: what one request may take.
const STATES: usize = 32_000;
/// Texts by which it is seen whether a tokenizer gives back what it was given.
const SAMPLES: [&str; 4] = ["{\"a", "\": [", "x", " y"];

/// A tokenizer's tokens as grammars see them: their bytes, with control tokens apart, and one more
/// behind them, which stands for the end.
pub(crate) struct Vocabulary {
    factory: ParserFactory,
    /// The id of the end.
    pub(super) end: u32,
}

struct Tokens {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
    canonical: bool,
}

impl Vocabulary {
    pub(crate) fn new(tokenizer: &Arc<Tokenizer>) -> Result<Vocabulary, GrammarError> {
        let end = tokenizer.vocab_size() as u32;
        let mut words: Vec<Vec<u8>> = (0..end)
            .map(|id| match tokenizer.token_bytes(id) {
                // No text has this byte, and it marks control tokens here.
                [TokTrie::SPECIAL_TOKEN_MARKER, ..] => Vec::new(),
                bytes => bytes.to_vec(),
            })
            .collect();
        let mark = |text: &str| [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat();
        for (id, text, kind) in tokenizer.special_tokens() {
            if kind == TokenKind::Control {
                words[id as usize] = mark(text);
            }
        }
        words.push(mark("<|the end of the grammar|>"));
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        let mut tokens = Tokens {
            trie,
            tokenizer: Arc::clone(tokenizer),
            canonical: false,
        };
        // A tokenizer that puts a blank in front of every text cannot tell what is forced.
        tokens.canonical = SAMPLES.iter().all(|text| {
            let ids = tokens.tokenize_bytes(text.as_bytes());
            tokens.trie.decode(&ids) == text.as_bytes()
        });
        let tokens: TokEnv = Arc::new(tokens);
        let capabilities = InferenceCapabilities {
            ff_tokens: tokens.tokenize_is_canonical(),
            ..InferenceCapabilities::default()
        };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&tokens, capabilities, &slices).map_err(refused)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            verbose_errors: false,
            max_lexer_states: STATES,
            ..ParserLimits::default()
        };
        Ok(Vocabulary { factory, end })
    }

    /// A matcher at the beginning of `grammar`.
    pub(super) fn matcher(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        let grammar = grammar.prepared()?;
        let make = || self.factory.create_parser(grammar);
        // What is nested deep takes a deep stack.
        let parser = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".to_owned());
            let thread = thread.stack_size(STACK).spawn_scoped(scope, make);
            let thread = thread.map_err(refused)?;
            match thread.join() {
                Ok(parser) => parser.map_err(refused),
                Err(_) => Err(refused("it cannot be prepared")),
            }
        })?;
        Ok(Matcher::new(Ok(parser)))
    }
}

/// What llguidance says and means for its own developers, and what that is to users.
const WORDS: [(&str, &str); 3] = [
    ("NoExtensionBias", "it allows no answer at all"),
    (
        "Enable 'coerce_one_of' option to approximate oneOf with anyOf",
        "Where the forms exclude each other, anyOf says the same",
    ),
    (" without 'referencing' feature", ""),
];

/// What llguidance says of it, without what it adds for its own developers.
pub(super) fn refused(error: impl std::fmt::Display) -> GrammarError {
    let said = error.to_string();
    let said = said
        .trim_end()
        .trim_end_matches("<non-verbose/>")
        .trim_end();
    let said = WORDS.iter().fold(said.to_owned(), |said, (theirs, ours)| {
        said.replace(theirs, ours)
    });
    GrammarError::Refused(said)
}

impl TokenizerEnv for Tokens {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let options = Encode {
            bos: false,
            special: Special::AsText,
        };
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let encoded = self.tokenizer.encode(text, options);
            encoded.unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary")
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
