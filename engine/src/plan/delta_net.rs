//! The gated delta net: a causal convolution and a delta rule, which keep a state of a sequence in
//! place of its keys and values.
//!
//! ```text
//! x = BL_qkv(y);  z = BL_gate(y);  beta = BL_beta(y);  alpha = BL_alpha(y),  where y = RMS(h)
//! q, k, v = silu(convolution of the last rows of x)
//! o = delta_rule(q, k, v, alpha, beta)
//! h += BL_out(RMS of each head of o * silu(z))
//! ```

use bitnet_kernels::program::{Activation, BufferId, LayerCache, Op};

use super::Builder;
use crate::config::{Config, DeltaNet};

impl Builder<'_> {
    pub(super) fn delta_net(&mut self, config: &Config, layer: usize, h: BufferId) {
        let Some(DeltaNet { shape, columns }) = config.delta_net else {
            unreachable!("the sizes of a delta net are read where a layer has one");
        };
        let (embedding, eps) = (config.embedding, config.eps);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (inputs, outputs, heads) = (shape.inputs(), shape.outputs(), shape.heads);
        let x = self.row("delta_in", inputs);
        let z = self.row("delta_gate", outputs);
        let alpha = self.row("alpha", heads);
        let beta = self.row("beta", heads);
        let convolved = self.row("convolved", inputs);
        let out = self.row("delta_out", outputs);

        let matrices = [
            self.matrix(&name("attn_qkv"), inputs, embedding),
            self.matrix(&name("attn_gate"), outputs, embedding),
            self.matrix(&name("ssm_alpha"), heads, embedding),
            self.matrix(&name("ssm_beta"), heads, embedding),
        ];
        let normed = self.norm(h, &name("attn_norm"), eps, "attn_x", &matrices);
        self.ops.push(Op::Linear {
            products: normed.into_iter().zip([x, z, alpha, beta]).collect(),
            accumulate: false,
        });
        let kernel = [columns as u64, inputs as u64];
        let kernel = self.tensor(&name("ssm_conv1d"), &kernel);
        let layer_of_rows = self.keep(LayerCache::State {
            len: (columns - 1) * inputs,
        });
        self.ops.push(Op::Convolve {
            x,
            kernel,
            layer: layer_of_rows,
            out: convolved,
        });
        let bias = self.vector(&format!("blk.{layer}.ssm_dt.bias"), heads);
        let rate = self.vector(&format!("blk.{layer}.ssm_a"), heads);
        let layer_of_rule = self.keep(LayerCache::State { len: shape.state() });
        self.ops.push(Op::DeltaRule {
            x: convolved,
            alpha,
            beta,
            bias,
            rate,
            shape,
            layer: layer_of_rule,
            out,
        });
        let gain = self.vector(&name("ssm_norm"), shape.size);
        self.ops.push(Op::HeadNorm { x: out, gain, eps });
        self.ops.push(Op::Gate {
            x: out,
            gate: z,
            activation: Activation::Silu,
        });
        let wo = self.matrix(&name("ssm_out"), embedding, outputs);
        self.add_product(out, None, eps, "delta_y", wo, h);
    }
}
