//! [`Engine`]: a model file, ready for text.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bitnet_files::Sha256Hex;
use bitnet_gguf::Gguf;
use bitnet_tokenizers::Tokenizer;
use bitnet_tokenizers::discovery::TokenizerDiscovery;

use crate::chat::{Chat, ChatOptions};
use crate::decoding::Decoding;
use crate::encoder::Encoder;
use crate::error::Error;
use crate::generate_options::GenerateOptions;
use crate::generation::Generation;
use crate::identity::Identity;
use crate::model::Model;
use crate::options::LoadOptions;
use crate::pages::Pages;
use crate::prompt::{EncodedPrompt, Prompt};
use crate::sequence::Sequence;
use crate::speculation::Earlier;
use crate::template::{Template, TemplateChoice};

/// Unused ids that a model's vocabulary may have behind its tokenizer's.
const PADDING: usize = 512;

/// A model file, ready for text: the model on its device, its tokenizer and its prompt template,
/// checked to fit each other.
///
/// It is a handle: clones share everything, and generations and chats on any number of threads
/// take turns on the device.
///
/// ```
/// use bitnet_engine::{Engine, GenerateOptions, LoadOptions};
///
/// let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
/// let options = GenerateOptions::default().max_tokens(16);
/// for piece in engine.generate("Once upon a time", &options)? {
///     print!("{}", piece?.text);
/// }
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
#[derive(Clone)]
pub struct Engine {
    model: Model,
    tokenizer_file: Option<PathBuf>,
    encoder: Encoder,
    hashes: Arc<Hashes>,
    earlier: Arc<Earlier>,
}

/// What is made when it is asked for first.
#[derive(Default)]
struct Hashes {
    identity: OnceLock<Identity>,
    sha256: OnceLock<Sha256Hex>,
}

/// Refuses a tokenizer that was made for another model than one of `rows` tokens.
///
/// # Errors
/// [`Error::Vocabulary`] where it has more tokens, or far fewer.
pub fn check_vocabulary(tokenizer: &Tokenizer, rows: usize) -> Result<(), Error> {
    let tokens = tokenizer.vocab_size();
    if tokens > rows || rows - tokens >= PADDING {
        return Err(Error::Vocabulary {
            tokenizer: tokens,
            model: rows,
        });
    }
    Ok(())
}

/// Where the files of a model are, where they are files.
struct Place {
    model: Option<PathBuf>,
    tokenizer: Option<PathBuf>,
}

impl Engine {
    /// Opens a model file. Its tokenizer is the one that `options` name, else the one inside, else
    /// a `tokenizer.json` beside the file or one folder up.
    ///
    /// # Errors
    /// [`Error::File`] where the file is no sound GGUF; [`Error::TokenizerNotFound`],
    /// [`Error::Tokenizer`] or [`Error::Vocabulary`] where there is no tokenizer that can be used
    /// with it; else as [`Model::load`].
    pub fn open(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Engine, Error> {
        let path = path.as_ref();
        let file = Gguf::open(path).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })?;
        let file = Arc::new(file);
        let pages = Pages::of(&file);
        let explicit = options.tokenizer.as_deref();
        let found = TokenizerDiscovery::new(path).discover(explicit, &file)?;
        let tokenizer = found.load(&file).map_err(|source| Error::Tokenizer {
            path: found.path().unwrap_or(path).to_owned(),
            source: Box::new(source),
        })?;
        let place = Place {
            model: Some(path.to_owned()),
            tokenizer: found.path().map(Path::to_owned),
        };
        let engine = Engine::with(file, place, tokenizer, options)?;
        pages.loaded(&engine.model, engine.file());
        Ok(engine)
    }

    /// Takes a model file that is open already, or that is part of the program. Its tokenizer is
    /// the one that `options` name, else the one inside.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn from_gguf(file: Arc<Gguf>, options: &LoadOptions) -> Result<Engine, Error> {
        let named = options.tokenizer.as_deref();
        let tokenizer = match named {
            Some(path) => Tokenizer::from_file(path),
            None => Tokenizer::from_gguf(&file),
        };
        let tokenizer = tokenizer.map_err(|source| Error::Tokenizer {
            path: named.unwrap_or(Path::new("inside the model")).to_owned(),
            source: Box::new(source),
        })?;
        let place = Place {
            model: None,
            tokenizer: named.map(Path::to_owned),
        };
        Engine::with(file, place, tokenizer, options)
    }

    fn with(
        file: Arc<Gguf>,
        place: Place,
        tokenizer: Tokenizer,
        options: &LoadOptions,
    ) -> Result<Engine, Error> {
        let model = Model::load(Arc::clone(&file), options)?;
        check_vocabulary(&tokenizer, model.config().vocabulary)?;
        Ok(Engine {
            model,
            tokenizer_file: place.tokenizer,
            encoder: Encoder::new(Arc::new(tokenizer), file, place.model),
            hashes: Arc::default(),
            earlier: Arc::default(),
        })
    }

    /// The model alone: sessions, logits, several sequences in one pass.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.encoder.tokenizer
    }

    /// The file that the tokenizer is in; none where it is the model's own.
    pub fn tokenizer_file(&self) -> Option<&Path> {
        self.tokenizer_file.as_deref()
    }

    /// What turns prompts into tokens, without the model.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The model's file.
    pub fn file(&self) -> &Gguf {
        &self.encoder.file
    }

    /// What answers depend on beside their request. It is made when it is asked for first, which
    /// takes reading the model's whole file.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the tokenizer's file cannot be read any more.
    pub fn identity(&self) -> Result<&Identity, Error> {
        if let Some(made) = self.hashes.identity.get() {
            return Ok(made);
        }
        let made = Identity::of(&self.model, self.file(), self.tokenizer_file())?;
        Ok(self.hashes.identity.get_or_init(|| made))
    }

    /// The SHA-256 of the model's file, made when it is asked for first.
    pub fn sha256(&self) -> Sha256Hex {
        let make = || Identity::sha256(self.file());
        *self.hashes.sha256.get_or_init(make)
    }

    /// Tokens that a sequence can have: the model was trained for no more.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// The template that `choice` means for this model, and how it is known: for `auto` that of the
    /// model's file, else `chat_template.jinja`, else `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] where the model brings none, or one that no model was trained on;
    /// [`Error::Template`] where it cannot be compiled.
    pub fn template(&self, choice: &TemplateChoice) -> Result<Template, Error> {
        self.encoder.template(choice, false)
    }

    /// A prompt as the model reads it: put in its template, with the token that begins a text.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] where it has no token; [`Error::Encode`] where the text defeats the
    /// tokenizer; [`Error::Template`] where a template refuses it, and [`Error::NoTemplate`] where
    /// a conversation needs one and the model brings none.
    pub fn encode(&self, prompt: impl Into<Prompt>) -> Result<EncodedPrompt, Error> {
        self.encoder.encode(prompt)
    }

    /// Continues a prompt: an iterator over pieces of text.
    ///
    /// # Errors
    /// As [`Engine::encode`]; [`Error::ContextFull`] where the prompt is longer than the context,
    /// [`Error::Sampling`] where a setting is out of its range, [`Error::Backend`] where there is
    /// no memory for the cache.
    pub fn generate(
        &self,
        prompt: impl Into<Prompt>,
        options: &GenerateOptions,
    ) -> Result<Generation, Error> {
        let prompt = self.encode(prompt)?;
        let wanted = prompt.tokens.len().saturating_add(options.max_tokens);
        let mut sequence = self.sequence(wanted, options)?;
        sequence.rewrite(&prompt.tokens, options.max_tokens)?;
        let remaining = sequence.capacity() - sequence.len();
        let mut decoding = Decoding::new(&self.encoder.tokenizer, prompt.ends, options, remaining);
        decoding.begin(&mut sequence)?;
        Ok(Generation::new(sequence, decoding))
    }

    /// Starts a conversation.
    ///
    /// # Errors
    /// As [`Engine::template`]; [`Error::Sampling`] where a setting is out of its range,
    /// [`Error::Backend`] where there is no memory for the cache.
    pub fn chat(&self, options: ChatOptions) -> Result<Chat, Error> {
        let template = self.template(&options.template)?;
        let context = options.context.unwrap_or(usize::MAX);
        let sequence = self.sequence(context, &options.answers)?.in_turns();
        Ok(Chat::new(self.encoder.clone(), options, template, sequence))
    }

    /// The answers that guesses are made from, whoever they were for.
    pub(crate) fn earlier(&self) -> Arc<Earlier> {
        Arc::clone(&self.earlier)
    }

    /// An empty sequence of `wanted` tokens, or of as many as the model has positions.
    fn sequence(&self, wanted: usize, options: &GenerateOptions) -> Result<Sequence, Error> {
        let sampler = options.new_sampler()?;
        let session = self.model.session(self.context().min(wanted))?;
        // On a GPU, bits depend on how many tokens a pass reads; a state cannot be taken back.
        let exact = self.model.is_on_cpu() && !session.keeps_state();
        let guesses = if exact { options.speculate } else { 0 };
        Ok(Sequence::new(session, sampler).speculating(guesses, &self.earlier))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.model)
            .field("tokenizer", &self.encoder.tokenizer)
            .finish_non_exhaustive()
    }
}
