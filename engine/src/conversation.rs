//! [`ModelTemplate`]: conversations in the form that a model was trained on, as its tokens.

use std::io::Read;
use std::path::Path;

use bitnet_chat_templates::{
    ChatTemplate, ControlTokens, Conversation, Evidence, Family, Found, Json, Offered, Rendered,
    Segment, Tokens, Wanted, find,
};
use bitnet_gguf::Gguf;
use bitnet_tokenizers::{TokenKind, Tokenizer};

use crate::error::Error;

/// Most bytes that are read of a template beside a model; compiling refuses less than that.
const MAX_TEMPLATE_FILE: u64 = 1 << 20;
/// Most bytes that are read of a `tokenizer_config.json`.
const MAX_CONFIG_FILE: u64 = 16 << 20;
/// The key of a model file with its plain template; named ones follow behind a point.
pub(crate) const TEMPLATE: &str = "tokenizer.chat_template";

/// A model's chat template, compiled for its vocabulary.
#[derive(Debug)]
pub struct ModelTemplate {
    template: ChatTemplate,
    control: ControlTokens,
    evidence: Evidence,
    family: Option<&'static Family>,
}

/// A conversation as a model reads it.
#[derive(Clone, Debug)]
pub struct EncodedConversation {
    /// The text, and its parts.
    pub rendered: Rendered,
    /// The tokens of the parts, with one BOS token in front where the vocabulary wants it.
    pub tokens: Vec<u32>,
}

impl ModelTemplate {
    /// The template that a model wants: the one in its file, or beside the file at `path`. With
    /// `tools`, the one for conversations with tools, if there is one.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] where there is none; [`Error::Template`] where it cannot be compiled;
    /// [`Error::TemplateFile`] where a file beside the model cannot be read.
    pub fn find(
        file: &Gguf,
        path: Option<&Path>,
        tokenizer: &Tokenizer,
        tools: bool,
    ) -> Result<ModelTemplate, Error> {
        let has_eot_id = tokenizer
            .special_tokens()
            .any(|(_, text, _)| text == "<|eot_id|>");
        let found = find(&offered(file, path)?, Wanted { tools, has_eot_id });
        ModelTemplate::of(&found.map_err(Error::NoTemplate)?, Some(file), tokenizer)
    }

    /// A template that the user names.
    ///
    /// # Errors
    /// [`Error::Template`] where it cannot be compiled.
    pub fn given(
        source: &str,
        file: Option<&Gguf>,
        tokenizer: &Tokenizer,
    ) -> Result<ModelTemplate, Error> {
        let found = Found {
            source: source.to_owned(),
            evidence: Evidence::GivenFile,
            family: None,
        };
        ModelTemplate::of(&found, file, tokenizer)
    }

    /// The template of a family that the user names.
    ///
    /// # Errors
    /// [`Error::Template`] where it cannot be compiled.
    pub fn of_family(
        family: &'static Family,
        file: Option<&Gguf>,
        tokenizer: &Tokenizer,
    ) -> Result<ModelTemplate, Error> {
        let found = Found {
            source: family.source.to_owned(),
            evidence: Evidence::NamedFamily(family.name),
            family: Some(family),
        };
        ModelTemplate::of(&found, file, tokenizer)
    }

    fn of(
        found: &Found,
        file: Option<&Gguf>,
        tokenizer: &Tokenizer,
    ) -> Result<ModelTemplate, Error> {
        let text = |id: Option<u32>| tokenizer.token_text(id?).map(str::to_owned);
        let named = |key: &str| {
            let id = file?
                .metadata()
                .opt_u32(&format!("tokenizer.ggml.{key}_token_id"))
                .ok()?;
            text(id)
        };
        let tokens = Tokens {
            bos: text(tokenizer.bos()),
            eos: text(tokenizer.eos()),
            unk: named("unknown"),
            // As the GGUF specification spells it.
            sep: named("seperator"),
            pad: named("padding"),
            cls: named("cls"),
            mask: named("mask"),
        };
        let of_kind = |wanted: TokenKind| {
            let tokens = tokenizer.special_tokens();
            tokens
                .filter(move |(_, _, kind)| *kind == wanted)
                .map(|(_, text, _)| text)
        };
        let control = ControlTokens::new(of_kind(TokenKind::Control))
            .with_user_defined(of_kind(TokenKind::UserDefined), &found.source);
        Ok(ModelTemplate {
            template: ChatTemplate::compile(&found.source, tokens).map_err(Error::Template)?,
            control,
            evidence: found.evidence.clone(),
            family: found.family,
        })
    }

    /// The same template, which sees `tokens` in place of the vocabulary's where they are given.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> ModelTemplate {
        self.template = self.template.with_tokens(tokens);
        self
    }

    /// Where the template comes from.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The family whose template it is, if it is one of this project.
    pub fn family(&self) -> Option<&'static Family> {
        self.family
    }

    /// The source of the template.
    pub fn source(&self) -> &str {
        self.template.source()
    }

    /// Every token that ends an answer: those of the vocabulary and those of the family.
    pub fn stops(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let of_family = self.family.map_or(&[][..], |family| family.stop);
        let named = tokenizer
            .special_tokens()
            .filter(|(_, text, _)| of_family.contains(text));
        let mut stops: Vec<u32> = named.map(|(id, ..)| id).collect();
        stops.extend(tokenizer.eog_ids());
        stops.sort_unstable();
        stops.dedup();
        stops
    }

    /// The first part of a conversation that the template writes nowhere in what it makes of it,
    /// `rendered`, as a path such as `messages[1].content`.
    pub fn left_out(&self, conversation: &Conversation, rendered: &Rendered) -> Option<String> {
        self.template.left_out(conversation, rendered)
    }

    /// Writes a conversation in the template's form, and reads it as tokens. Control tokens that
    /// came with the conversation are text.
    ///
    /// # Errors
    /// [`Error::Template`] where the template refuses the conversation or fails on it;
    /// [`Error::Encode`] where the text defeats the tokenizer.
    pub fn encode(
        &self,
        conversation: &Conversation,
        tokenizer: &Tokenizer,
    ) -> Result<EncodedConversation, Error> {
        let rendered = self
            .template
            .render(conversation, &self.control)
            .map_err(Error::Template)?;
        let mut tokens = Vec::new();
        for segment in &rendered.segments {
            match segment {
                Segment::Control(token) => {
                    let found = tokenizer
                        .special_tokens()
                        .find(|(_, text, _)| text == token);
                    tokens.extend(found.map(|(id, ..)| id));
                }
                Segment::Text(text) => {
                    let as_text = |token: &str| self.control.iter().any(|other| other == token);
                    let ids = tokenizer.encode_content(text, as_text);
                    tokens.extend(ids.map_err(|source| Error::Encode(Box::new(source)))?);
                }
            }
        }
        begin(&mut tokens, tokenizer);
        Ok(EncodedConversation { rendered, tokens })
    }
}

/// Puts the token that begins a text in front, where the model wants it and it is not there.
pub(crate) fn begin(tokens: &mut Vec<u32>, tokenizer: &Tokenizer) {
    let bos = tokenizer
        .bos()
        .filter(|bos| tokenizer.add_bos() && tokens.first() != Some(bos));
    tokens.splice(..0, bos);
}

/// What a model file and its folder offer.
fn offered(file: &Gguf, path: Option<&Path>) -> Result<Offered, Error> {
    let mut offered = Offered::default();
    for (key, _) in file.metadata().iter() {
        let name = key.strip_prefix(TEMPLATE);
        let Some(name) = name.filter(|name| name.is_empty() || name.starts_with('.')) else {
            continue;
        };
        let source = file.metadata().str(key)?;
        match name.strip_prefix('.') {
            Some(name) => drop(
                offered
                    .named_in_file
                    .insert(name.to_owned(), source.to_string()),
            ),
            None if name.is_empty() => offered.in_file = Some(source.to_string()),
            None => {}
        }
    }
    let Some(folder) = path.and_then(Path::parent) else {
        return Ok(offered);
    };
    offered.beside = read(&folder.join("chat_template.jinja"), MAX_TEMPLATE_FILE)?;
    for entry in folder
        .join("additional_chat_templates")
        .read_dir()
        .into_iter()
        .flatten()
    {
        let path = entry.map_err(|source| unreadable(folder, source))?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == "jinja"))
            && let Some(source) = read(&path, MAX_TEMPLATE_FILE)?
        {
            offered.named_beside.insert(name.to_owned(), source);
        }
    }
    let config = folder.join("tokenizer_config.json");
    if let Some(text) = read(&config, MAX_CONFIG_FILE)? {
        let parsed = Json::parse(&text).map_err(|error| unreadable(&config, error.into()))?;
        if let Json::Map(mut config) = parsed {
            offered.in_tokenizer_config = config.swap_remove("chat_template");
        }
    }
    Ok(offered)
}

/// The text of a file, if there is one.
fn read(path: &Path, limit: u64) -> Result<Option<String>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let mut text = String::new();
    let file = bitnet_files::open(path).map_err(|source| unreadable(path, source))?;
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|source| unreadable(path, source))?;
    Ok(Some(text))
}

fn unreadable(path: &Path, source: std::io::Error) -> Error {
    Error::TemplateFile {
        path: path.to_owned(),
        source,
    }
}
