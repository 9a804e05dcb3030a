//! [`Settings`]: how an answer is generated, by the fields that all APIs share.

use bitnet_engine::chat_templates::Json;
use bitnet_engine::{Error, GenerateOptions, Sampling};

use crate::error::ApiError;
use crate::fields::{Fields, flag, ids, list, number};
use crate::state::Shared;

/// Most choices of a request.
const MOST_CHOICES: i128 = 128;
/// Most texts at which an answer stops.
const MOST_STOPS: usize = 16;

/// How answers are generated, and how they are told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// None: as many as fit.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) choices: usize,
    pub(crate) seed: u64,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) receipt: bool,
    /// 0: an answer may end at once.
    pub(crate) min_tokens: usize,
    stop: Vec<String>,
    stop_tokens: Vec<u32>,
    ignore_ends: bool,
    sampling: Sampling,
}

impl Settings {
    /// For the model of `server`, whose digest is made here where a receipt is wanted, so that it
    /// keeps nobody else waiting.
    pub(crate) fn read(fields: &Fields, server: &Shared) -> Result<Settings, ApiError> {
        let most = |name: &str| fields.whole(name, 0..=i128::from(u32::MAX));
        let names = [
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "n_predict",
        ];
        let [a, b, c] = [names[0], names[1], names[2]].map(most);
        // Below 0: all that there is room for, as llama.cpp has it.
        let d = fields.whole(names[3], -2..=i128::from(u32::MAX))?;
        let d = d.map(|tokens| if tokens < 0 { u32::MAX.into() } else { tokens });
        let max_tokens = Fields::either(names, [a?, b?, c?, d])?;
        let any = f64::from(f32::MIN)..=f64::from(f32::MAX);
        let names = ["repeat_penalty", "repetition_penalty"];
        let repeat = names.map(|name| fields.number(name, any.clone()));
        let [first, second] = repeat;
        let repeat = Fields::either(names, [first?, second?])?;
        let penalty =
            |name: &str| Ok::<f32, ApiError>(fields.number(name, -2.0..=2.0)?.unwrap_or(0.0));
        // Both mean all of them.
        let top_k = fields.whole("top_k", -1..=i128::from(u32::MAX))?;
        let top_k = usize::try_from(top_k.unwrap_or(0)).unwrap_or(0);
        let seed = fields.whole("seed", i128::from(i64::MIN)..=i128::from(u64::MAX))?;
        let seed = match seed {
            // A negative one by its bits.
            Some(seed) => seed as u64,
            // Of as many bits as every client's JSON reads.
            None => getrandom::u64().map_err(|error| ApiError::internal(error.to_string()))? >> 11,
        };
        let sampling = Sampling::default()
            .logit_bias(bias(fields, server.vocabulary())?)
            .presence_penalty(penalty("presence_penalty")?)
            .frequency_penalty(penalty("frequency_penalty")?)
            .temperature(fields.number("temperature", 0.0..=100.0)?.unwrap_or(1.0))
            .top_p(fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0))
            .top_k(top_k)
            .min_p(fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0))
            .repeat_penalty(repeat.unwrap_or(1.0))
            .seed(seed);
        let names = ["stop", "stop_sequences"];
        let [a, b] = names.map(|name| fields.texts(name, MOST_STOPS));
        let stop = Fields::either(names, [a?, b?])?;
        let stop_tokens = match fields.get("stop_token_ids") {
            None => Vec::new(),
            Some(value) => {
                let items = list("stop_token_ids", value)?;
                ids("stop_token_ids", items, server.vocabulary())?
            }
        };
        let stream = fields.flag("stream")?;
        let receipt = fields.flag("receipt")?;
        if receipt {
            server.engine.sha256();
        }
        Ok(Settings {
            max_tokens: max_tokens.map(|tokens| tokens as usize),
            choices: fields.whole("n", 1..=MOST_CHOICES)?.unwrap_or(1) as usize,
            seed,
            include_usage: stream && include_usage(fields)?,
            stream,
            receipt,
            min_tokens: most("min_tokens")?.unwrap_or(0) as usize,
            stop: stop.unwrap_or_default(),
            stop_tokens,
            ignore_ends: fields.flag("ignore_eos")?,
            sampling,
        })
    }

    /// For one of the choices, with so many tokens at most.
    ///
    /// # Errors
    /// [`Error::Sampling`] where a setting is out of its range.
    pub(crate) fn options(&self, choice: u64, max_tokens: usize) -> Result<GenerateOptions, Error> {
        let sampling = self.sampling.clone().seed(self.seed.wrapping_add(choice));
        sampling.check().map_err(Error::Sampling)?;
        let options = GenerateOptions::default()
            .max_tokens(max_tokens)
            .min_tokens(self.min_tokens)
            .stop_tokens(self.stop_tokens.clone())
            .ignore_ends(self.ignore_ends)
            .digests(self.receipt);
        let stops = self.stop.iter();
        Ok(stops.fold(options.sampling(sampling), GenerateOptions::stop))
    }
}

fn include_usage(fields: &Fields) -> Result<bool, ApiError> {
    let options = fields.object("stream_options")?;
    let value = options.and_then(|entries| entries.get("include_usage"));
    value.map_or(Ok(false), |value| {
        flag("stream_options.include_usage", value)
    })
}

fn bias(fields: &Fields, vocabulary: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(biases) = fields.object("logit_bias")? else {
        return Ok(Vec::new());
    };
    let one = |(key, value): (&String, &Json)| {
        let name = format!("logit_bias.{key}");
        let id = key.parse().ok().filter(|id| (*id as usize) < vocabulary);
        let id: u32 = id.ok_or_else(|| {
            let message = format!("`{key}` is no token of this model, which has {vocabulary}.");
            ApiError::field(&name, message)
        })?;
        Ok((id, number(&name, value, -100.0..=100.0)? as f32))
    };
    biases.iter().map(one).collect()
}
