//! What one engine answered to one sequence of tokens.

use bitnet_lane_protocol::message::Evaluation;

/// Logits, and where wanted the residual stream, at each position of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// The tokens fed: the prompt, then what was generated.
    pub tokens: Vec<u32>,
    /// How many of them are the prompt.
    pub prompt: usize,
    /// Length of a row of logits.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// `tokens.len() * vocabulary` logits; row `i` was computed after token `i`.
    pub logits: Vec<f32>,
    /// Per layer, `tokens.len() * hidden` values of the residual stream; empty where not asked
    /// for.
    pub layers: Vec<Vec<f32>>,
    /// Milliseconds for the prompt.
    pub prefill_ms: f64,
    /// Milliseconds for the rest.
    pub decode_ms: f64,
}

impl Trajectory {
    /// What a lane returned for `prompt`.
    pub(crate) fn from_lane(prompt: &[u32], evaluation: &Evaluation, floats: Vec<f32>) -> Self {
        let mut logits = floats;
        let streams = logits.split_off(evaluation.rows * evaluation.vocabulary);
        let layer = evaluation.rows * evaluation.hidden;
        let generated = evaluation.greedy.iter().map(|t| t.cast_unsigned());
        Self {
            tokens: prompt.iter().copied().chain(generated).collect(),
            prompt: prompt.len(),
            vocabulary: evaluation.vocabulary,
            hidden: evaluation.hidden,
            logits,
            layers: match evaluation.layers {
                0 => Vec::new(),
                _ => streams.chunks(layer).map(<[f32]>::to_vec).collect(),
            },
            prefill_ms: evaluation.prefill_ms,
            decode_ms: evaluation.decode_ms,
        }
    }

    /// Positions.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// The logits after token `row`.
    pub fn logits(&self, row: usize) -> &[f32] {
        &self.logits[row * self.vocabulary..][..self.vocabulary]
    }

    /// The residual stream after `layer` at token `row`.
    pub fn residual(&self, layer: usize, row: usize) -> &[f32] {
        &self.layers[layer][row * self.hidden..][..self.hidden]
    }

    /// The tokens after the prompt.
    pub fn generated(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }
}
