//! [`Chat`]: a conversation.

mod options;
mod turns;

use std::collections::VecDeque;

use bitnet_chat_templates::{Conversation, Json};
use smol_str::SmolStr;

use crate::conversation::EncodedConversation;
use crate::decoding::Decoding;
use crate::encoder::Encoder;
use crate::error::Error;
use crate::generated::{Generated, Piece};
use crate::sequence::Sequence;
use crate::template::{Template, TemplateChoice};
use crate::thoughts::{Marks, Stretch, Thinking};
use turns::Turns;

pub use options::{ChatOptions, OnFull};

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
/// // What was said can be kept, taken back and answered again.
/// let kept = chat.messages();
/// assert_eq!(chat.undo().as_deref(), Some("What then?"));
/// chat.set_messages(kept);
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
pub struct Chat {
    encoder: Encoder,
    options: ChatOptions,
    template: Template,
    marks: Option<Marks>,
    /// All turns but the latest answer.
    turns: Turns,
    sequence: Sequence,
    latest: Option<Latest>,
}

/// The latest answer: as the model writes it, and divided.
struct Latest {
    decoding: Decoding,
    thinking: Option<Thinking>,
    thought: String,
    said: String,
}

/// The turns that are sent, as the model reads them.
struct Sent {
    turns: Turns,
    encoded: EncodedConversation,
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
            turns: Turns::new(system.collect()),
            marks: Marks::of(template.source(), &encoder.tokenizer),
            encoder,
            options,
            template,
            sequence,
            latest: None,
        }
    }

    /// Says something. The answer comes as the iterator that is returned goes on; dropping it ends
    /// the answer.
    ///
    /// # Errors
    /// [`Error::ContextFull`] where the conversation has no room for it (with [`OnFull::Drop`]: not
    /// even alone), [`Error::Template`] where the template refuses it; what was said before stays.
    pub fn say(&mut self, text: &str) -> Result<Answer<'_>, Error> {
        let mut turns = self.with_answer();
        turns.all.push(Json::message("user", text));
        self.ask(turns)
    }

    /// Answers the last question again, in place of what followed it; nothing where there is no
    /// question. The same sampler goes on, so a drawn answer may be another one.
    ///
    /// # Errors
    /// As [`Chat::say`].
    pub fn regenerate(&mut self) -> Result<Option<Answer<'_>>, Error> {
        let mut turns = self.turns.clone();
        match turns.back_to_question() {
            true => self.ask(turns).map(Some),
            false => Ok(None),
        }
    }

    /// Takes back the last question, with what followed it, and returns it.
    pub fn undo(&mut self) -> Option<String> {
        let question = self.turns.undo()?;
        self.latest = None;
        Some(question)
    }

    /// Forgets all but what the system says.
    pub fn reset(&mut self) {
        self.turns.reset();
        self.latest = None;
    }

    /// All that was said, oldest first, as messages with `role` and `content`; a thought stands
    /// under `reasoning_content`. Turns that are no longer sent are among them.
    pub fn messages(&self) -> Vec<Json> {
        self.with_answer().all
    }

    /// Goes on with another conversation, in place of this one.
    pub fn set_messages(&mut self, messages: Vec<Json>) {
        self.turns = Turns::new(messages);
        self.latest = None;
    }

    /// What the system says before the first turn.
    pub fn system(&self) -> Option<&str> {
        self.turns.system()
    }

    /// Changes what the system says before the first turn. The conversation goes on.
    pub fn set_system(&mut self, text: Option<&str>) {
        self.turns.set_system(text);
    }

    /// Puts the conversation in another template from the next turn on.
    ///
    /// # Errors
    /// As [`Engine::template`]; the template stays then.
    ///
    /// [`Engine::template`]: crate::Engine::template
    pub fn set_template(&mut self, choice: &TemplateChoice) -> Result<(), Error> {
        self.template = self.encoder.template(choice, false)?;
        self.marks = Marks::of(self.template.source(), &self.encoder.tokenizer);
        Ok(())
    }

    /// The latest answer, whole or as far as it came, as the model wrote it.
    pub fn answer(&self) -> Option<&Generated> {
        let latest = self.latest.as_ref()?;
        Some(&latest.decoding.generated)
    }

    /// The template that turns are put in.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Tokens that were sent and generated with the latest answer.
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

    /// What is done when the context is full.
    pub fn on_full(&self) -> OnFull {
        self.options.on_full
    }

    /// Turns that are no longer sent to the model, because the context was full.
    pub fn dropped(&self) -> usize {
        self.turns.dropped
    }

    /// All turns, the latest answer among them.
    fn with_answer(&self) -> Turns {
        let mut turns = self.turns.clone();
        turns.all.extend(self.latest.as_ref().map(Latest::message));
        turns
    }

    /// Has the last of `turns` answered.
    fn ask(&mut self, turns: Turns) -> Result<Answer<'_>, Error> {
        let answers = &self.options.answers;
        let sent = self.fit(turns, &[], answers.max_tokens)?;
        let rendered = &sent.encoded.rendered;
        self.sequence
            .rewrite(&sent.encoded.tokens, answers.max_tokens)?;
        let remaining = self.sequence.capacity() - self.sequence.len();
        let ends = self.encoder.ends(&self.template);
        self.turns = sent.turns;
        let thinking = self
            .marks
            .map(|marks| Thinking::begin(marks, &rendered.text, &self.encoder.tokenizer));
        let mut answers = answers.clone();
        if let Some(constraint) = answers.constraint.take() {
            answers = answers.constraint(constraint.behind(thinking.clone()));
        }
        let mut decoding = Decoding::new(&self.encoder.tokenizer, ends, &answers, remaining);
        decoding.begin(&mut self.sequence)?;
        self.latest = Some(Latest {
            decoding,
            thinking,
            thought: String::new(),
            said: String::new(),
        });
        Ok(Answer {
            altered_by_marks: rendered.altered_by_marks,
            chat: self,
            ready: VecDeque::new(),
        })
    }

    /// Puts `turns` in the template, without the oldest where there is no room for all and that is
    /// wanted. `answered` stands behind them, and up to `more` tokens will follow.
    fn fit(&self, mut turns: Turns, answered: &[u32], more: usize) -> Result<Sent, Error> {
        let have = self.sequence.capacity();
        let mut free = 0;
        loop {
            let conversation = Conversation::new(turns.sent());
            let mut encoded = self
                .encoder
                .conversation(&self.template, &conversation, false)?;
            encoded.tokens.extend(answered);
            let need = encoded.tokens.len();
            let fits = need.saturating_add(free) <= have;
            if fits || self.options.on_full == OnFull::Stop || !turns.drop_oldest() {
                // What does not fit even so is refused by the sequence.
                return Ok(Sent { turns, encoded });
            }
            // So that the next token does not drop the next turn.
            free = more.min(have / 4).max(1);
        }
    }

    /// Drops turns where the next token would have no room.
    fn make_room(&mut self) -> Result<(), Error> {
        let Some(latest) = &self.latest else {
            return Ok(());
        };
        let answered = &latest.decoding.generated.tokens;
        let more = self.options.answers.max_tokens - answered.len();
        let full = self.sequence.len() >= self.sequence.capacity();
        // The last token of an answer is not read.
        let needed = full && more > 1 && !latest.decoding.has_ended();
        if !needed || self.options.on_full == OnFull::Stop {
            return Ok(());
        }
        let mut turns = self.turns.clone();
        if !turns.drop_oldest() {
            return Ok(());
        }
        let sent = self.fit(turns, answered, more)?;
        self.sequence.rewrite(&sent.encoded.tokens, more)?;
        self.turns = sent.turns;
        Ok(())
    }
}

impl Latest {
    /// The answer as a message, as far as it came.
    fn message(&self) -> Json {
        let (mut thought, mut said) = (self.thought.clone(), self.said.clone());
        if let Some(thinking) = &self.thinking {
            for stretch in thinking.clone().finish() {
                match stretch.thought {
                    true => thought.push_str(&stretch.text),
                    false => said.push_str(&stretch.text),
                }
            }
        }
        let mut message = Json::message("assistant", &said);
        if let Json::Map(entries) = &mut message
            && !thought.is_empty()
        {
            entries.insert("reasoning_content".to_owned(), thought.into());
        }
        message
    }
}

/// An answer on its way: an iterator over pieces of text, those of a thought apart from the others.
pub struct Answer<'c> {
    chat: &'c mut Chat,
    /// Pieces that were told apart in one that the model wrote.
    ready: VecDeque<Piece>,
    altered_by_marks: bool,
}

impl Answer<'_> {
    /// Whether the template looked so closely at a text with control tokens in it that the tokens
    /// that were sent are not those of the plain rendering.
    pub fn altered_by_marks(&self) -> bool {
        self.altered_by_marks
    }

    /// What was generated so far, as the model wrote it, and why it ended if it has.
    pub fn generated(&self) -> &Generated {
        let latest = self.chat.latest.as_ref();
        &latest.expect("an answer is the latest").decoding.generated
    }

    /// Turns that are no longer sent to the model, because the context was full.
    pub fn dropped(&self) -> usize {
        self.chat.dropped()
    }

    /// Divides a piece, or what was held back where there are no more.
    fn divide(&mut self, piece: Option<Piece>) -> Option<Piece> {
        let latest = self.chat.latest.as_mut()?;
        let Some(thinking) = &mut latest.thinking else {
            let piece = piece?;
            latest.said.push_str(&piece.text);
            return Some(piece);
        };
        let mut stretches = match &piece {
            Some(piece) => thinking.push(piece),
            None => thinking.finish(),
        };
        let token = piece.as_ref().and_then(|piece| piece.token);
        if piece.is_none() {
            latest.thinking = None;
        }
        for stretch in &stretches {
            let whole = match stretch.thought {
                true => &mut latest.thought,
                false => &mut latest.said,
            };
            whole.push_str(&stretch.text);
        }
        // One that gives no text yet is a piece all the same.
        if stretches.is_empty() && piece.is_some() {
            stretches.push(Stretch {
                text: String::new(),
                thought: false,
            });
        }
        let pieces = stretches.into_iter().map(|stretch| Piece {
            text: SmolStr::from(stretch.text),
            thought: stretch.thought,
            token: None,
        });
        self.ready.extend(pieces);
        let mut first = self.ready.pop_front()?;
        first.token = token;
        Some(first)
    }
}

impl Iterator for Answer<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(Ok(piece));
        }
        if let Err(error) = self.chat.make_room() {
            return Some(Err(error));
        }
        let latest = self.chat.latest.as_mut()?;
        match latest.decoding.next(&mut self.chat.sequence) {
            Some(Ok(piece)) => self.divide(Some(piece)).map(Ok),
            Some(Err(error)) => Some(Err(error)),
            None => self.divide(None).map(Ok),
        }
    }
}

impl std::iter::FusedIterator for Answer<'_> {}
