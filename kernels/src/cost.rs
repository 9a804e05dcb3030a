//! What a forward pass must read and multiply, counted from the program alone.

use crate::program::{CacheType, Op, Product, Program};

/// The size of a forward pass, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Passes: each reads all weights once.
    pub passes: u64,
    /// Tokens of all passes.
    pub tokens: u64,
    /// Tokens whose logits are wanted.
    pub selected: u64,
    /// Passes in which logits are wanted.
    pub selecting: u64,
    /// Positions that each token sees, its own included, summed over tokens.
    pub seen: u64,
    /// Positions of the cache that each pass reads for each of its sequences, summed over both.
    pub cached: u64,
}

/// What a pass costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights but for the head's. Of the embedding, the rows that are looked up.
    pub weight_bytes: u64,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Bytes of keys and values.
    pub cache_bytes: u64,
    /// Multiply-adds of matrix products.
    pub products: u64,
    /// Multiply-adds of attention.
    pub attention: u64,
}

impl Cost {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.weight_bytes + self.head_bytes + self.cache_bytes
    }

    /// Multiply-adds in all.
    pub fn multiply_adds(&self) -> u64 {
        self.products + self.attention
    }
}

impl Program {
    /// What `work` costs.
    pub fn cost(&self, work: &Work) -> Cost {
        let mut cost = Cost::default();
        let bytes = |rows: usize, weight| {
            let desc = self.weight(weight);
            // A trailer of a format is too little to count.
            let row = desc.format.row_bytes(desc.cols).unwrap_or(0);
            (rows * row) as u64
        };
        let rows = |product: &Product| self.weight(product.weight).rows;
        let weights = |product: &Product| (rows(product) * self.weight(product.weight).cols) as u64;
        let shape = &self.attention;
        let element = match self.cache_type {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        };
        for op in &self.ops {
            let products: Vec<&Product> = match op {
                Op::Linear { products, .. } => {
                    products.iter().map(|(product, _)| product).collect()
                }
                Op::GatedLinear { gate, up, .. } => vec![gate, up],
                Op::Embed { table, .. } => {
                    cost.weight_bytes += work.tokens * bytes(1, *table);
                    continue;
                }
                Op::Norm { gain, .. } => {
                    cost.weight_bytes += work.passes * bytes(1, *gain);
                    continue;
                }
                Op::Attention { .. } => {
                    let keys_and_values = 2 * (shape.head_dim * shape.kv_heads * element) as u64;
                    cost.cache_bytes += work.cached * keys_and_values;
                    cost.attention += work.seen * 2 * (shape.head_dim * shape.heads) as u64;
                    continue;
                }
                Op::Head { product, .. } => {
                    cost.head_bytes += work.selecting * bytes(rows(product), product.weight);
                    cost.products += work.selected * weights(product);
                    continue;
                }
                Op::Encode { .. } | Op::RopeStore { .. } | Op::Select { .. } => continue,
            };
            for product in products {
                cost.weight_bytes += work.passes * bytes(rows(product), product.weight);
                cost.products += work.tokens * weights(product);
            }
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Encoding, Format};
    use crate::program::{
        AttentionShape, BufferDesc, BufferId, Pairing, Rope, Rows, WeightDesc, WeightId,
    };

    /// A layer of attention and a matrix of 4 x 256 trits, and a head of 10 x 256 halves.
    fn program() -> Program {
        let buffer = BufferDesc {
            name: "x",
            width: 256,
            encoding: Encoding::F32,
            rows: Rows::Batch,
        };
        let weight = |format, rows| WeightDesc {
            name: String::new(),
            format,
            rows,
            cols: 256,
        };
        let x = BufferId(0);
        let product = |weight| Product {
            x,
            weight: WeightId(weight),
            scale: 1.0,
        };
        Program {
            buffers: vec![buffer],
            weights: vec![weight(Format::TQ2_0, 4), weight(Format::F16, 10)],
            ops: vec![
                Op::Embed {
                    table: WeightId(1),
                    out: x,
                },
                Op::Linear {
                    products: vec![(product(0), x)],
                    accumulate: false,
                },
                Op::Attention {
                    q: x,
                    layer: 0,
                    out: x,
                },
                Op::Head {
                    product: product(1),
                    logits: x,
                },
            ],
            attention: AttentionShape {
                heads: 4,
                kv_heads: 2,
                head_dim: 64,
                scale: 0.125,
                round_weights: false,
                rope: Rope {
                    dims: 64,
                    base: 1e4,
                    pairing: Pairing::Halves,
                    factors: Vec::new(),
                },
            },
            layers: 1,
            cache_type: CacheType::F16,
            vocabulary: 10,
        }
    }

    #[test]
    fn two_passes_of_three_and_one_token() {
        let work = Work {
            passes: 2,
            tokens: 4,
            selected: 1,
            selecting: 1,
            seen: 1 + 2 + 3 + 4,
            cached: 3 + 4,
        };
        let cost = program().cost(&work);
        // Two readings of 4 blocks of 66 bytes, and 4 rows of 512 bytes looked up.
        assert_eq!(cost.weight_bytes, 2 * 4 * 66 + 4 * 512);
        assert_eq!(cost.head_bytes, 10 * 512);
        // 2 heads of 64 keys and 64 values of 2 bytes.
        assert_eq!(cost.cache_bytes, 7 * 2 * 64 * 2 * 2);
        assert_eq!(cost.products, 4 * 4 * 256 + 10 * 256);
        assert_eq!(cost.attention, 10 * 2 * 64 * 4);
        assert_eq!(
            cost.bytes(),
            cost.weight_bytes + cost.head_bytes + cost.cache_bytes
        );
        assert_eq!(cost.multiply_adds(), cost.products + cost.attention);
    }
}
