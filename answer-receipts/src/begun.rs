//! [`Begun`]: a receipt whose answer is still to come.

use bitnet_engine::{EncodedPrompt, Engine, GenerateOptions, Generated, Template, TemplateChoice};
use bitnet_files::Sha256Hex;

use crate::receipt::{
    Answer, AnswerReceipt, KIND, ModelRecord, Parameters, Program, SCHEMA_VERSION, TemplateRecord,
};

/// A receipt whose answer is still to come.
#[derive(Clone, Debug)]
pub struct Begun(AnswerReceipt);

/// Why there can be no receipt of an answer.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Sums of a GPU are taken in another order on each device.
    #[error(
        "there are receipts of what a CPU computes, which is the same to the bit on every machine; this model runs on {0}"
    )]
    Device(String),
    /// Tokens are chosen by a chain that cannot be written down.
    #[error("a sampler of one's own cannot be written down in a receipt")]
    Sampler,
    /// A file of the model cannot be read.
    #[error(transparent)]
    Engine(#[from] bitnet_engine::Error),
}

impl Begun {
    /// For the answer to `prompt` that `options` ask for, with the digests of its logits, of prompt
    /// and answer together no more than `context` tokens. `name` is what the model is called.
    ///
    /// # Errors
    /// As [`BeginError`] says.
    pub fn new(
        engine: &Engine,
        name: &str,
        prompt: &EncodedPrompt,
        options: &GenerateOptions,
        context: usize,
    ) -> Result<Begun, BeginError> {
        let identity = engine.identity()?;
        if let Some(device) = &identity.device {
            return Err(BeginError::Device(device.clone()));
        }
        let parameters = options.parameters().ok_or(BeginError::Sampler)?;
        Ok(Begun(AnswerReceipt {
            kind: KIND.to_owned(),
            schema_version: SCHEMA_VERSION,
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                numerics: identity.numerics,
            },
            model: ModelRecord {
                name: name.to_owned(),
                sha256: engine.sha256(),
                bytes: engine.file().file_len() as u64,
                graph: identity.graph,
                cache_type: engine.model().plan().program.cache_type.into(),
                tokenizer: identity.tokenizer,
            },
            device: "cpu".to_owned(),
            context,
            template: record(&prompt.template),
            prompt: prompt.tokens.clone(),
            ends: prompt.ends.clone(),
            parameters: Parameters::of(parameters),
            answer: Answer::of(&Generated::default()),
        }))
    }

    /// The receipt of this answer.
    pub fn end(self, generated: &Generated) -> AnswerReceipt {
        AnswerReceipt {
            answer: Answer::of(generated),
            ..self.0
        }
    }
}

fn record(template: &Template) -> TemplateRecord {
    let name = template.name();
    let origin = match template.evidence() {
        Some(evidence) => evidence,
        None if name.parse::<TemplateChoice>().is_ok() => TemplateRecord::NAMED,
        None => TemplateRecord::FILE,
    };
    // Where a file was is nobody's business.
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    TemplateRecord {
        name: name.to_owned(),
        origin: origin.to_owned(),
        sha256: template.source().map(|text| Sha256Hex::of(text.as_bytes())),
    }
}
