//! An open model and its context. The places where the C API changed are here.

use std::ffi::{CString, c_char};
use std::ptr::NonNull;

use bitnet_lane_protocol::message::{
    Attention, KvType, LaneError, LoadRequest, ModelInfo, TokenizeRequest,
};
use bitnet_lane_protocol::{ReferenceModel, Step};

use crate::trace::{self, Trace};
use crate::{bindings, log};

/// The most tokens per step: the references' own default.
const BATCH: u32 = 512;

const GGML_TYPE_F32: bindings::ggml_type = bindings::GGML_TYPE_F32;
const GGML_TYPE_F16: bindings::ggml_type = bindings::GGML_TYPE_F16;

/// A model, its context, and what the context's callback writes to.
///
/// Fields drop in order: the context before the model and the trace that it points to.
pub(crate) struct Model {
    context: Context,
    trace: Box<Trace>,
    weights: Weights,
    info: ModelInfo,
}

impl Model {
    pub(crate) fn load(request: &LoadRequest) -> Result<Self, LaneError> {
        log::clear();
        let weights = Weights::load(request)?;
        let info = weights.info();
        let mut trace = Box::new(Trace::default());
        let context = Context::new(&weights, request, &mut trace)?;
        Ok(Self {
            context,
            trace,
            weights,
            info,
        })
    }
}

impl ReferenceModel for Model {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn batch_limit(&self) -> usize {
        BATCH as usize
    }

    fn tokenize(&self, request: &TokenizeRequest) -> Result<Vec<i32>, LaneError> {
        if !self.info.tokenizer {
            return Err(LaneError::no_tokenizer(
                "the model file carries no tokenizer",
            ));
        }
        self.weights.tokenize(request)
    }

    fn reset(&mut self) {
        self.context.forget();
    }

    fn step(&mut self, tokens: &[i32], position: usize, layers: bool) -> Result<Step, LaneError> {
        self.trace.on = layers;
        self.trace.layers = vec![Vec::new(); if layers { self.info.layers } else { 0 }];
        let logits = self
            .context
            .decode(tokens, position, self.info.vocabulary)?;
        let layers = std::mem::take(&mut self.trace.layers);
        let wanted = tokens.len() * self.info.hidden;
        if let Some(layer) = layers.iter().position(|values| values.len() != wanted) {
            return Err(LaneError::failed(format!(
                "the reference showed {} values of layer {layer}, not {wanted}",
                layers[layer].len()
            )));
        }
        Ok(Step { logits, layers })
    }
}

struct Weights(NonNull<bindings::llama_model>);

impl Weights {
    fn load(request: &LoadRequest) -> Result<Self, LaneError> {
        let shown = request.path.display();
        let path = CString::new(request.path.as_os_str().as_encoded_bytes())
            .map_err(|_| LaneError::bad_request(format!("`{shown}` holds a NUL byte")))?;
        // SAFETY: plain values; the path lives for the call.
        let model = unsafe {
            let mut parameters = bindings::llama_model_default_params();
            parameters.n_gpu_layers = 0;
            // Weights as they lie in the file: what is repacked for a CPU's matrix unit is looked
            // up by row all the same, and llama.cpp dies of it.
            #[cfg(extra_buffers)]
            {
                parameters.use_extra_bufts = false;
            }
            #[cfg(vocab_api)]
            let model = bindings::llama_model_load_from_file(path.as_ptr(), parameters);
            #[cfg(not(vocab_api))]
            let model = bindings::llama_load_model_from_file(path.as_ptr(), parameters);
            model
        };
        NonNull::new(model).map(Self).ok_or_else(|| {
            LaneError::cannot_read(format!("cannot read {shown}: {}", log::complaints()))
        })
    }

    fn as_ptr(&self) -> *mut bindings::llama_model {
        self.0.as_ptr()
    }

    /// What the C API of this age wants for questions about the vocabulary.
    #[cfg(vocab_api)]
    fn vocabulary(&self) -> *const bindings::llama_vocab {
        // SAFETY: the model is alive.
        unsafe { bindings::llama_model_get_vocab(self.as_ptr()) }
    }

    #[cfg(not(vocab_api))]
    fn vocabulary(&self) -> *const bindings::llama_model {
        self.as_ptr()
    }

    fn info(&self) -> ModelInfo {
        let model = self.as_ptr();
        let mut words = [0 as c_char; 256];
        // SAFETY: the model is alive and the buffer's true size is passed.
        let (length, vocabulary, layers, hidden, context, kind) = unsafe {
            let length = bindings::llama_model_desc(model, words.as_mut_ptr(), words.len());
            let kind = bindings::llama_vocab_type(self.vocabulary());
            #[cfg(vocab_api)]
            let sizes = (
                bindings::llama_vocab_n_tokens(self.vocabulary()),
                bindings::llama_model_n_layer(model),
                bindings::llama_model_n_embd(model),
                bindings::llama_model_n_ctx_train(model),
            );
            #[cfg(not(vocab_api))]
            let sizes = (
                bindings::llama_n_vocab(model),
                bindings::llama_n_layer(model),
                bindings::llama_n_embd(model),
                bindings::llama_n_ctx_train(model),
            );
            (length, sizes.0, sizes.1, sizes.2, sizes.3, kind)
        };
        let size = |value: i32| usize::try_from(value).unwrap_or_default();
        ModelInfo {
            description: words[..size(length).min(words.len())]
                .iter()
                .map(|c| char::from(c.cast_unsigned()))
                .collect(),
            vocabulary: size(vocabulary),
            layers: size(layers),
            hidden: size(hidden),
            context: u32::try_from(context).unwrap_or_default(),
            tokenizer: kind != bindings::LLAMA_VOCAB_TYPE_NONE,
            load_ms: 0.0,
        }
    }

    fn tokenize(&self, request: &TokenizeRequest) -> Result<Vec<i32>, LaneError> {
        let length = i32::try_from(request.text.len())
            .map_err(|_| LaneError::bad_request("a text of over 2 GiB"))?;
        // Every token but the special ones around the text covers at least one byte.
        let mut tokens = vec![0i32; request.text.len() + 8];
        let room = i32::try_from(tokens.len()).unwrap_or(i32::MAX);
        // SAFETY: text and buffer live for the call and their true lengths are passed.
        let count = unsafe {
            bindings::llama_tokenize(
                self.vocabulary(),
                request.text.as_ptr().cast(),
                length,
                tokens.as_mut_ptr(),
                room,
                request.add_special,
                request.parse_special,
            )
        };
        let count = usize::try_from(count)
            .map_err(|_| LaneError::failed(format!("tokenize wants room for {} tokens", -count)))?;
        tokens.truncate(count);
        Ok(tokens)
    }
}

impl Drop for Weights {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once; the context is gone by now.
        unsafe {
            #[cfg(vocab_api)]
            bindings::llama_model_free(self.as_ptr());
            #[cfg(not(vocab_api))]
            bindings::llama_free_model(self.as_ptr());
        }
    }
}

struct Context(NonNull<bindings::llama_context>);

impl Context {
    fn new(weights: &Weights, request: &LoadRequest, trace: &mut Trace) -> Result<Self, LaneError> {
        let threads = i32::try_from(request.threads.max(1)).unwrap_or(1);
        let kv = match request.kv {
            KvType::F16 => GGML_TYPE_F16,
            KvType::F32 => GGML_TYPE_F32,
        };
        let flash = request.attention == Attention::Flash;
        log::clear();
        // SAFETY: plain values, a live model, and a trace that the caller keeps longer.
        let context = unsafe {
            let mut parameters = bindings::llama_context_default_params();
            parameters.n_ctx = request.context.max(BATCH);
            parameters.n_batch = BATCH;
            parameters.n_ubatch = BATCH;
            parameters.n_threads = threads;
            parameters.n_threads_batch = threads;
            parameters.type_k = kv;
            parameters.type_v = kv;
            parameters.cb_eval = Some(trace::observe);
            parameters.cb_eval_user_data = std::ptr::from_mut(trace).cast();
            #[cfg(flash_enum)]
            {
                parameters.flash_attn_type = if flash {
                    bindings::LLAMA_FLASH_ATTN_TYPE_ENABLED
                } else {
                    bindings::LLAMA_FLASH_ATTN_TYPE_DISABLED
                };
            }
            #[cfg(not(flash_enum))]
            {
                parameters.flash_attn = flash;
            }
            #[cfg(vocab_api)]
            let context = bindings::llama_init_from_model(weights.as_ptr(), parameters);
            #[cfg(not(vocab_api))]
            let context = bindings::llama_new_context_with_model(weights.as_ptr(), parameters);
            context
        };
        NonNull::new(context).map(Self).ok_or_else(|| {
            LaneError::failed(format!(
                "no context of {} tokens for this model: {}",
                request.context,
                log::complaints()
            ))
        })
    }

    fn as_ptr(&self) -> *mut bindings::llama_context {
        self.0.as_ptr()
    }

    fn forget(&mut self) {
        // SAFETY: the context is alive.
        unsafe {
            #[cfg(memory_api)]
            bindings::llama_memory_clear(bindings::llama_get_memory(self.as_ptr()), true);
            #[cfg(not(memory_api))]
            bindings::llama_kv_cache_clear(self.as_ptr());
        }
    }

    /// Feeds `tokens` and returns `tokens.len() * vocabulary` logits.
    fn decode(
        &mut self,
        tokens: &[i32],
        position: usize,
        vocabulary: usize,
    ) -> Result<Vec<f32>, LaneError> {
        let batch = Batch::new(tokens, position)?;
        log::clear();
        // SAFETY: context and batch are alive; the library copies what it keeps.
        let code = unsafe { bindings::llama_decode(self.as_ptr(), batch.0) };
        if code != 0 {
            return Err(LaneError::failed(format!(
                "decoding {} tokens at position {position} gave code {code}: {}",
                tokens.len(),
                log::complaints()
            )));
        }
        let mut logits = Vec::with_capacity(tokens.len() * vocabulary);
        for row in 0..batch.0.n_tokens {
            // SAFETY: every token of the batch asked for its logits.
            let values = unsafe { bindings::llama_get_logits_ith(self.as_ptr(), row) };
            if values.is_null() {
                return Err(LaneError::failed(format!("no logits for row {row}")));
            }
            // SAFETY: a row holds one value per token of the vocabulary.
            logits.extend_from_slice(unsafe { std::slice::from_raw_parts(values, vocabulary) });
        }
        Ok(logits)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { bindings::llama_free(self.as_ptr()) }
    }
}

struct Batch(bindings::llama_batch);

impl Batch {
    /// One sequence, from `position` on, logits wanted after each token.
    fn new(tokens: &[i32], position: usize) -> Result<Self, LaneError> {
        let too_long = |_| LaneError::bad_request("a sequence of over 2^31 tokens");
        let count = i32::try_from(tokens.len()).map_err(too_long)?;
        let start = i32::try_from(position).map_err(too_long)?;
        // SAFETY: asks for room for `count` tokens of one sequence each; freed on drop.
        let mut batch = unsafe { bindings::llama_batch_init(count, 0, 1) };
        batch.n_tokens = count;
        for (i, token) in tokens.iter().enumerate() {
            // SAFETY: `i` is below the count that the arrays were made for.
            unsafe {
                *batch.token.add(i) = *token;
                *batch.pos.add(i) = start + i as i32;
                *batch.n_seq_id.add(i) = 1;
                **batch.seq_id.add(i) = 0;
                *batch.logits.add(i) = 1;
            }
        }
        Ok(Self(batch))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: made by `llama_batch_init`, freed once.
        unsafe { bindings::llama_batch_free(self.0) }
    }
}
