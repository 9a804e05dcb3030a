//! [`Encoder`]: from what is said to the tokens that a model reads.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bitnet_chat_templates::{Conversation, Json, Rendered, Segment};
use bitnet_gguf::Gguf;
use bitnet_tokenizers::{Encode, Special, Tokenizer};

use crate::constraint::{Constraint, Grammar, GrammarError, Mark, Recipe, Vocabulary};
use crate::conversation::{EncodedConversation, ModelTemplate, begin};
use crate::error::Error;
use crate::prompt::{Content, EncodedPrompt, Prompt};
use crate::template::{Template, TemplateChoice};
use crate::thoughts::{Marks, Thinking};
use crate::tools::{CallForm, Calls, Tools, grammar};

/// LLaMA-2's form without its token that begins a text.
const INSTRUCT: &str = "{% set system = namespace(text='') %}\
    {% for message in messages %}\
    {% if message.role == 'system' %}\
    {% if not loop.first %}{{ raise_exception('a system message must be the first') }}{% endif %}\
    {% set system.text = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}\
    {% elif message.role == 'user' %}\
    {{ '[INST] ' + system.text + message.content + ' [/INST]' }}\
    {% set system.text = '' %}\
    {% elif message.role == 'assistant' %}{{ message.content + ' ' }}\
    {% else %}{{ raise_exception('there is no place for the role ' + message.role) }}{% endif %}\
    {% endfor %}";

/// A model's tokenizer, and what tells its template: all that a prompt needs to become tokens,
/// without the model itself.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) file: Arc<Gguf>,
    /// Where the file is; none where it is held in memory.
    path: Option<PathBuf>,
    /// Made when the first grammar is.
    vocabulary: Arc<OnceLock<Vocabulary>>,
}

impl Encoder {
    /// For the model in `file`. Templates beside it are found by `path`, where it lies.
    pub fn new(tokenizer: Arc<Tokenizer>, file: Arc<Gguf>, path: Option<PathBuf>) -> Encoder {
        Encoder {
            tokenizer,
            file,
            path,
            vocabulary: Arc::default(),
        }
    }

    /// The template that `choice` means for this model; `tools` may have one of their own.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] where the model brings none, or one that no model was trained on;
    /// [`Error::Template`] where it cannot be compiled; [`Error::TemplateFile`] where a file beside
    /// the model cannot be read.
    pub fn template(&self, choice: &TemplateChoice, tools: bool) -> Result<Template, Error> {
        let (file, tokenizer) = (&*self.file, &*self.tokenizer);
        let given = |source: &str| ModelTemplate::given(source, Some(file), tokenizer);
        Ok(match choice {
            TemplateChoice::Raw => Template::raw(None),
            TemplateChoice::Instruct => Template::named("instruct", given(INSTRUCT)?),
            TemplateChoice::Family(family) => {
                let form = ModelTemplate::of_family(family, Some(file), tokenizer)?;
                Template::named(family.name, form)
            }
            TemplateChoice::Source { name, text } => Template::named(name, given(text)?),
            TemplateChoice::Auto => {
                let path = self.path.as_deref();
                Template::found(ModelTemplate::find(file, path, tokenizer, tools)?)
            }
        })
    }

    /// A prompt as the model reads it. A single text is continued as it is where the model has no
    /// template.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`] where it has no token; [`Error::Encode`] where the text defeats the
    /// tokenizer; [`Error::NoText`] where a message has none and there is no template; else as
    /// [`Encoder::template`].
    pub fn encode(&self, prompt: impl Into<Prompt>) -> Result<EncodedPrompt, Error> {
        let prompt = prompt.into();
        let (template, conversation) = match prompt.content {
            Content::Tokens { tokens, .. } if tokens.is_empty() => return Err(Error::EmptyPrompt),
            Content::Tokens { tokens, ends } => {
                let template = Template::raw(None);
                return Ok(EncodedPrompt {
                    rendered: None,
                    tokens,
                    ends: ends.unwrap_or_else(|| self.ends(&template)),
                    template,
                    begun: String::new(),
                });
            }
            Content::Text(text) => {
                let template = match self.template(&prompt.template, false) {
                    Err(Error::NoTemplate(why)) => Template::raw(Some(why.to_string())),
                    template => template?,
                };
                let system = prompt.system.iter();
                let system = system.map(|text| Json::message("system", text));
                let messages = system.chain([Json::message("user", &text)]).collect();
                (template, Conversation::new(messages))
            }
            Content::Conversation(conversation) => {
                let tools = conversation.tools.is_some();
                (self.template(&prompt.template, tools)?, *conversation)
            }
        };
        let encoded = self.conversation(&template, &conversation, prompt.special)?;
        if encoded.tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        Ok(EncodedPrompt {
            rendered: Some(encoded.rendered),
            tokens: encoded.tokens,
            ends: self.ends(&template),
            template,
            begun: conversation.continued().unwrap_or_default().to_owned(),
        })
    }

    /// The text that a template makes of a conversation, and its tokens: the one that begins a text
    /// once, where the model wants it, and no control token but the template's own. With `special`,
    /// those that are spelled out in the conversation are read as such.
    pub(crate) fn conversation(
        &self,
        template: &Template,
        conversation: &Conversation,
        special: bool,
    ) -> Result<EncodedConversation, Error> {
        let tokenizer = &*self.tokenizer;
        let mut encoded = match template.form() {
            Some(form) => {
                let encoded = form.encode(conversation, tokenizer)?;
                if let Some(part) = form.left_out(conversation, &encoded.rendered) {
                    return Err(Error::LeftOut { part });
                }
                encoded
            }
            None => {
                let text = contents(conversation)?;
                let mut tokens = self.plain(&text, Special::AsText)?;
                begin(&mut tokens, tokenizer);
                let rendered = Rendered {
                    segments: vec![Segment::Text(text.clone())],
                    text,
                    altered_by_marks: false,
                };
                EncodedConversation { rendered, tokens }
            }
        };
        if special {
            encoded.rendered.altered_by_marks = false;
            encoded.tokens = self.plain(&encoded.rendered.text, Special::Parse)?;
            begin(&mut encoded.tokens, tokenizer);
        }
        Ok(encoded)
    }

    /// Whether a model with this template thinks before it answers, or can.
    pub fn thinks(&self, template: &Template) -> bool {
        Marks::of(template.source(), &self.tokenizer).is_some()
    }

    /// What divides an answer to `prompt` into its thought and what is said; none where the model
    /// does not think.
    pub fn thinking(&self, prompt: &EncodedPrompt) -> Option<Thinking> {
        let marks = Marks::of(prompt.template.source(), &self.tokenizer)?;
        let text = prompt.text().unwrap_or_default();
        let mut thinking = Thinking::begin(marks, text, &self.tokenizer);
        thinking.go_on_from(&prompt.begun);
        Some(thinking)
    }

    /// Prepares a grammar for the model's vocabulary, which takes some milliseconds; the first time
    /// it takes as long as reading the vocabulary.
    ///
    /// # Errors
    /// [`Error::Grammar`] where it is wrong, or beyond what llguidance does.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint, Error> {
        Ok(Constraint::new(self.vocabulary()?, grammar)?)
    }

    /// The vocabulary as grammars see it.
    fn vocabulary(&self) -> Result<&Vocabulary, Error> {
        if let Some(made) = self.vocabulary.get() {
            return Ok(made);
        }
        let made = Vocabulary::new(&self.tokenizer)?;
        Ok(self.vocabulary.get_or_init(|| made))
    }

    /// Makes a constraint again.
    ///
    /// # Errors
    /// [`Error::Grammar`], as [`Encoder::constraint`], and where the marks of a thought are of no
    /// model that is known.
    pub fn constraint_of(&self, recipe: &Recipe) -> Result<Constraint, Error> {
        let constraint = self.constraint(&recipe.grammar)?;
        let constraint = match &recipe.mark {
            None => constraint,
            Some(mark) => {
                let token = grammar::control(&mark.text, &self.tokenizer);
                constraint.begun_by(mark.clone(), token)
            }
        };
        let thinking = recipe.thought.as_ref().map(|thought| {
            let thinking = Thinking::of_recipe(thought, &self.tokenizer);
            thinking.ok_or_else(|| {
                let problem = format!("no model is known to think behind {:?}", thought.open);
                GrammarError::Refused(problem)
            })
        });
        Ok(constraint.behind(thinking.transpose()?))
    }

    /// What divides an answer to `prompt` into text and calls of `tools`; none where it is not
    /// known how the prompt's template has a model write its calls.
    pub fn calls(&self, prompt: &EncodedPrompt, tools: &Arc<Tools>) -> Option<Calls> {
        let form = CallForm::of(prompt.template.source()?)?;
        let mut calls = Calls::new(form, Arc::clone(tools), Arc::clone(&self.tokenizer));
        calls.go_on_from(&prompt.begun);
        Some(calls)
    }

    /// What holds an answer to `prompt` to calls of `tools`: to nothing else where a call is
    /// required; to calls or to `answer`, where that is given; and behind the mark of a call where
    /// a tool is strict or there may be one call alone.
    /// None where nothing can be held to: no tools, a form of calls that is not known, or, unless a
    /// call is required, one without a mark.
    ///
    /// # Errors
    /// [`Error::Tool`] where the schema of a tool that is strict, or that must be called, cannot be
    /// held to; [`Error::Grammar`] where `answer` cannot, or is no JSON.
    pub fn calls_constraint(
        &self,
        prompt: &EncodedPrompt,
        tools: &Tools,
        answer: Option<&Grammar>,
    ) -> Result<Option<Constraint>, Error> {
        let form = prompt.template.source().and_then(CallForm::of);
        let Some(form) = form.filter(|_| tools.are_offered()) else {
            return Ok(None);
        };
        let required = tools.are_required();
        // A model that may call as it likes writes its calls as it learned to.
        let must = required || !tools.parallel || tools.list.iter().any(|tool| tool.strict);
        if !must && answer.is_none() {
            return Ok(None);
        }
        if !form.is_held_behind_mark() && !required {
            return Ok(None);
        }
        let vocabulary = self.vocabulary()?;
        let mut calls = Vec::new();
        for (number, tool) in tools.list.iter().enumerate() {
            if !tools.may_call(tool) {
                continue;
            }
            let call = grammar::Call::new(form, number, tool);
            let held = call.and_then(|call| {
                Constraint::new(vocabulary, &Grammar::Lark(call.alone()))?;
                Ok(call)
            });
            calls.push(match held {
                Ok(call) => call,
                Err(problem) if required || tool.strict => {
                    return Err(Error::Tool { number, problem });
                }
                // The model is told of the schema, and held to the form of a call.
                Err(_) => grammar::Call::free(form, number, tool)?,
            });
        }
        let tokenizer = &self.tokenizer;
        if let Some(answer) = answer {
            self.constraint(answer)?;
        }
        let whole = required || answer.is_some();
        let lark = grammar::of_calls(form, tools, &calls, tokenizer, answer, !whole)?;
        let constraint = self.constraint(&Grammar::Lark(lark))?;
        Ok(Some(match whole {
            true => constraint,
            false => {
                let token = grammar::control(form.open, tokenizer);
                let mark = Mark {
                    text: form.open.to_owned(),
                    again: tools.parallel,
                };
                constraint.begun_by(mark, token)
            }
        }))
    }

    fn plain(&self, text: &str, special: Special) -> Result<Vec<u32>, Error> {
        let bos = false;
        let tokens = self.tokenizer.encode(text, Encode { bos, special });
        tokens.map_err(|source| Error::Encode(Box::new(source)))
    }

    /// Every token at which an answer ends, ascending: the tokenizer's, and the template's.
    pub fn ends(&self, template: &Template) -> Vec<u32> {
        match template.form() {
            Some(form) => form.stops(&self.tokenizer),
            None => self.tokenizer.eog_ids().to_vec(),
        }
    }
}

/// The contents of all messages; what the system says stands apart from what follows.
fn contents(conversation: &Conversation) -> Result<String, Error> {
    let mut text = String::new();
    for (message, number) in conversation.messages.iter().zip(1..) {
        let content = message.text_at("content");
        let content = content.ok_or(Error::NoText { message: number })?;
        text.push_str(content);
        if message.text_at("role") == Some("system") {
            text.push_str("\n\n");
        }
    }
    Ok(text)
}
