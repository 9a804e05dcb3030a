//! A forward pass as data: fused operations over buffers and weights.
//!
//! The engine builds a [`Program`] once per model; a backend receives it whole, places its buffers
//! and weights where it likes, and runs it for each batch of tokens. A list of operations, rather
//! than calls, lets a GPU record it once, lets threads walk it in step, and lets a debugger stop
//! between any two.

mod attention;
mod cache;
mod cost;
mod delta;
mod experts;
mod op;
mod tensor;

use std::ops::Range;

pub use attention::{AttentionShape, LongFactors, Pairing, Rope, RopeScaling, RotationId};
pub use cache::{CacheType, LayerCache};
pub use cost::{Cost, Stretch, Work};
pub use delta::DeltaShape;
pub use experts::Experts;
pub use op::{Op, Precision};
pub use tensor::{Activation, BufferDesc, BufferId, Product, Rows, WeightDesc, WeightId};

/// A forward pass: operations over buffers and weights, and what they keep of a sequence. Layers
/// may differ: each names its own rotation, shape of attention and layer of the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Buffers, by [`BufferId`].
    pub buffers: Vec<BufferDesc>,
    /// Weights, by [`WeightId`].
    pub weights: Vec<WeightDesc>,
    /// Rotations, by [`RotationId`], no two the same.
    pub rotations: Vec<Rope>,
    /// Layers of the cache.
    pub caches: Vec<LayerCache>,
    /// How keys and values are kept.
    pub cache_type: CacheType,
    /// Operations, in order.
    pub ops: Vec<Op>,
    /// Rows of the head.
    pub vocabulary: usize,
}

impl Program {
    /// The description of a buffer.
    pub fn buffer(&self, id: BufferId) -> &BufferDesc {
        &self.buffers[id.0 as usize]
    }

    /// The description of a weight.
    pub fn weight(&self, id: WeightId) -> &WeightDesc {
        &self.weights[id.0 as usize]
    }

    /// The weights that every pass reads from end to end, in the order in which it comes to them:
    /// not the rows of an embedding, nor those of experts that no token may be routed to.
    pub fn read_whole(&self) -> impl Iterator<Item = WeightId> + '_ {
        let whole = self.ops.iter().filter(|op| {
            matches!(
                op,
                Op::Linear { .. } | Op::GatedLinear { .. } | Op::Head { .. }
            )
        });
        whole.flat_map(Op::products).map(|product| product.weight)
    }

    /// The description of a rotation.
    pub fn rotation(&self, id: RotationId) -> &Rope {
        &self.rotations[id.0 as usize]
    }

    /// The name of the operation at `index`, with its number among those of its kind: `attention#3`
    /// is the fourth attention. `the end` behind the last.
    pub fn op_name(&self, index: usize) -> String {
        let Some(op) = self.ops.get(index) else {
            return "the end".to_owned();
        };
        let before = &self.ops[..index];
        let same = before.iter().filter(|other| other.name() == op.name());
        format!("{}#{}", op.name(), same.count())
    }

    /// The index of an operation that is named as in [`Program::op_name`], or by its index; without
    /// a number it is the first of its kind, and `end` is behind the last.
    ///
    /// # Errors
    /// In words: what there is instead.
    pub fn find_op(&self, text: &str) -> Result<usize, String> {
        if text == "end" {
            return Ok(self.ops.len());
        }
        if let Ok(index) = text.parse::<usize>() {
            return match index <= self.ops.len() {
                true => Ok(index),
                false => Err(format!("there are {} operations", self.ops.len())),
            };
        }
        let (name, number) = match text.split_once('#') {
            Some((name, number)) => (name, number.parse::<usize>().ok()),
            None => (text, Some(0)),
        };
        let of_kind = || (0..self.ops.len()).filter(|index| self.ops[*index].name() == name);
        number
            .and_then(|number| of_kind().nth(number))
            .ok_or_else(|| match of_kind().count() {
                0 => {
                    let mut names: Vec<_> = self.ops.iter().map(Op::name).collect();
                    names.sort_unstable();
                    names.dedup();
                    format!(
                        "there is no operation `{name}`; there are {}",
                        names.join(", ")
                    )
                }
                count => format!(
                    "`{name}` is there {count} times: {name}#0 to {name}#{}",
                    count - 1
                ),
            })
    }

    /// Bytes that one position of one sequence takes in the cache, all layers together.
    pub fn cache_bytes_per_position(&self) -> usize {
        let bytes = |layer: &LayerCache| layer.bytes_per_position(self.cache_type);
        self.caches.iter().map(bytes).sum()
    }

    /// Whether positions of sequences of these two capacities are rotated alike, so that their keys
    /// are the same: long factors are one choice for all positions of a sequence.
    pub fn rotates_alike(&self, capacity: usize, other: usize) -> bool {
        let long = self.rotations.iter().filter_map(|rope| rope.long.as_ref());
        long.map(|long| long.beyond)
            .all(|beyond| (capacity > beyond) == (other > beyond))
    }

    /// Whether a layer keeps a state, so that sequences only go forward.
    pub fn has_state(&self) -> bool {
        let is_state = |layer: &LayerCache| matches!(layer, LayerCache::State { .. });
        self.caches.iter().any(is_state)
    }

    /// Whether one of these operations changes a state.
    pub fn writes_state(&self, ops: Range<usize>) -> bool {
        let mut layers = self.ops[ops].iter().filter_map(Op::writes_cache);
        layers.any(|layer| matches!(self.caches.get(layer), Some(LayerCache::State { .. })))
    }

    /// The shapes of all attention, in order.
    pub fn attention_shapes(&self) -> impl Iterator<Item = &AttentionShape> {
        self.ops.iter().filter_map(|op| match op {
            Op::Attention { shape, .. } => Some(shape),
            _ => None,
        })
    }

    /// The product of the output head, and the buffer of its logits.
    pub fn head(&self) -> Option<(&Product, BufferId)> {
        self.ops.iter().find_map(|op| match op {
            Op::Head { product, logits } => Some((product, *logits)),
            _ => None,
        })
    }

    /// What `work` costs.
    pub fn cost(&self, work: &Work) -> Cost {
        let mut cost = Cost::default();
        for op in &self.ops {
            cost += op.cost(&self.weights, self.cache_type, work);
        }
        cost
    }

    /// Checks that operations fit the buffers, the layers of the cache and the rotations that they
    /// name. A backend does so before it takes a program.
    ///
    /// # Errors
    /// In words: the first operation that does not fit, and why.
    pub fn validate(&self) -> Result<(), String> {
        for (index, op) in self.ops.iter().enumerate() {
            if let Some(problem) =
                op.misfit(&self.buffers, &self.weights, &self.caches, &self.rotations)
            {
                return Err(format!("{}: {problem}", self.op_name(index)));
            }
        }
        Ok(())
    }
}
