//! [`Chat`]: a conversation.

use bitnet_chat_templates::{Conversation, Json};

use crate::decoding::Decoding;
use crate::encoder::Encoder;
use crate::error::Error;
use crate::generated::{Generated, Piece};
use crate::generation::GenerateOptions;
use crate::sequence::Sequence;
use crate::template::{Template, TemplateChoice};

/// How to hold a conversation. By default the model's own template is looked for, an answer has 512
/// tokens at most, and a conversation has all the model's context.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChatOptions {
    pub(crate) template: TemplateChoice,
    pub(crate) system: Option<String>,
    pub(crate) answers: GenerateOptions,
    pub(crate) context: Option<usize>,
}

impl Default for ChatOptions {
    fn default() -> ChatOptions {
        ChatOptions {
            template: TemplateChoice::Auto,
            system: None,
            answers: GenerateOptions::default().max_tokens(512),
            context: None,
        }
    }
}

impl ChatOptions {
    /// How turns are put to the model.
    pub fn template(mut self, template: TemplateChoice) -> ChatOptions {
        self.template = template;
        self
    }

    /// What is said before the first turn.
    pub fn system(mut self, text: impl Into<String>) -> ChatOptions {
        self.system = Some(text.into());
        self
    }

    /// How each answer is generated. Its sampler goes on from answer to answer.
    pub fn answers(mut self, options: GenerateOptions) -> ChatOptions {
        self.answers = options;
        self
    }

    /// Most tokens of the whole conversation; the model's context by default, and never more.
    pub fn context(mut self, tokens: usize) -> ChatOptions {
        self.context = Some(tokens);
        self
    }
}

/// A conversation with a model: it remembers what was said, in a cache of its own that is given
/// back when the chat is dropped.
///
/// ```
/// use bitnet_engine::{ChatOptions, Engine, GenerateOptions, LoadOptions, TemplateChoice};
///
/// let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
/// let answers = GenerateOptions::default().max_tokens(16);
/// // The demo model brings no template of its own.
/// let options = ChatOptions::default().template(TemplateChoice::Instruct);
/// let mut chat = engine.chat(options.system("Be brief.").answers(answers))?;
/// for piece in chat.say("Who is there?")? {
///     print!("{}", piece?.text);
/// }
/// // An answer can be cut short; the conversation goes on behind what there was of it.
/// chat.say("What then?")?.take(3).for_each(drop);
/// assert_eq!(chat.answer().map(|answer| answer.tokens.len()), Some(3));
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
pub struct Chat {
    encoder: Encoder,
    options: ChatOptions,
    template: Template,
    messages: Vec<Json>,
    sequence: Sequence,
    answer: Option<Decoding>,
}

impl Chat {
    pub(crate) fn new(
        encoder: Encoder,
        options: ChatOptions,
        template: Template,
        sequence: Sequence,
    ) -> Chat {
        let system = options.system.iter();
        let system = system.map(|text| Json::message("system", text));
        Chat {
            messages: system.collect(),
            encoder,
            options,
            template,
            sequence,
            answer: None,
        }
    }

    /// Says something. The answer comes as the iterator that is returned goes on; dropping it ends
    /// the answer.
    ///
    /// # Errors
    /// [`Error::ContextFull`] where the conversation has no room for it, [`Error::Template`] where
    /// the template refuses it; what was said before stays.
    pub fn say(&mut self, text: &str) -> Result<Answer<'_>, Error> {
        let mut messages = self.messages.clone();
        if let Some(answer) = self.answer() {
            messages.push(Json::message("assistant", &answer.text));
        }
        messages.push(Json::message("user", text));
        let conversation = Conversation::new(messages);
        let encoder = &self.encoder;
        let encoded = encoder.conversation(&self.template, &conversation, false)?;
        let answers = &self.options.answers;
        self.sequence.rewrite(&encoded.tokens, answers.max_tokens)?;
        self.messages = conversation.messages;
        let remaining = self.sequence.capacity() - self.sequence.len();
        let ends = encoder.ends(&self.template);
        let decoding = Decoding::new(&encoder.tokenizer, ends, answers, remaining);
        Ok(Answer {
            decoding: self.answer.insert(decoding),
            sequence: &mut self.sequence,
            altered_by_marks: encoded.rendered.altered_by_marks,
        })
    }

    /// The latest answer, whole or as far as it came.
    pub fn answer(&self) -> Option<&Generated> {
        self.answer.as_ref().map(|answer| &answer.generated)
    }

    /// The template that turns are put in.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Tokens of the conversation so far.
    pub fn len(&self) -> usize {
        self.sequence.len()
    }

    /// Whether nothing was said yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that the conversation has room for.
    pub fn capacity(&self) -> usize {
        self.sequence.capacity()
    }
}

/// An answer on its way: an iterator over pieces of text.
pub struct Answer<'c> {
    decoding: &'c mut Decoding,
    sequence: &'c mut Sequence,
    altered_by_marks: bool,
}

impl Answer<'_> {
    /// Whether the template looked so closely at a text with control tokens in it that the tokens
    /// that were sent are not those of the plain rendering.
    pub fn altered_by_marks(&self) -> bool {
        self.altered_by_marks
    }

    /// What was generated so far, and why it ended if it has.
    pub fn generated(&self) -> &Generated {
        &self.decoding.generated
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decoding.next(self.sequence)
    }
}

impl std::iter::FusedIterator for Answer<'_> {}
