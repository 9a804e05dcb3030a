//! The table.

use bitnet_kernels::program::{Activation, Pairing};

use super::row::{Architecture, HeadNorms, Layer, Mixer};

/// A row for each architecture.
pub(super) static TABLE: [Architecture; 8] = [
    Architecture {
        names: &["llama"],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["bitnet"],
        pairing: Pairing::Halves,
        layers: &[Layer {
            sub_norms: true,
            ..Layer::PLAIN
        }],
        ..Architecture::PLAIN
    },
    Architecture {
        // `bitnet-25` is its older name.
        names: &["bitnet-b1.58", "bitnet-25"],
        activation: Activation::Relu2,
        pairing: Pairing::Halves,
        layers: &[Layer {
            sub_norms: true,
            ..Layer::PLAIN
        }],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["qwen3"],
        pairing: Pairing::Halves,
        layers: &[Layer {
            head_norms: Some(HeadNorms::BeforeRotation),
            ..Layer::PLAIN
        }],
        expected: &["rope.freq_base"],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["qwen35"],
        pairing: Pairing::Halves,
        sections: true,
        layers: &[
            Layer {
                mixer: Mixer::DeltaNet,
                ffn_norm: "post_attention_norm",
                ..Layer::PLAIN
            },
            Layer {
                gated: true,
                head_norms: Some(HeadNorms::BeforeRotation),
                ffn_norm: "post_attention_norm",
                ..Layer::PLAIN
            },
        ],
        pattern: Some("attention.recurrent_layers"),
        interval: Some(("full_attention_interval", 4)),
        draft_head: true,
        expected: &["rope.freq_base"],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["minicpm"],
        scales: true,
        expected: &["embedding_scale", "residual_scale", "logit_scale"],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["hunyuan-dense"],
        pairing: Pairing::Halves,
        alpha: true,
        layers: &[Layer {
            head_norms: Some(HeadNorms::AfterRotation),
            ..Layer::PLAIN
        }],
        expected: &["rope.freq_base"],
        ..Architecture::PLAIN
    },
    Architecture {
        names: &["maple"],
        pairing: Pairing::Halves,
        layers: &[
            Layer {
                windowed: true,
                head_norms: Some(HeadNorms::BeforeRotation),
                experts: true,
                ..Layer::PLAIN
            },
            Layer {
                rotated: false,
                head_norms: Some(HeadNorms::BeforeRotation),
                experts: true,
                ..Layer::PLAIN
            },
        ],
        pattern: Some("attention.sliding_window_pattern"),
        expected: &["rope.freq_base"],
        ..Architecture::PLAIN
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_row_has_layers_and_names_of_its_own() {
        let mut names = HashSet::new();
        for row in &TABLE {
            assert!(!row.layers.is_empty(), "{row:?}");
            assert!(!row.names.is_empty(), "{row:?}");
            // A truth chooses between two.
            assert!(row.pattern.is_none() || row.layers.len() == 2, "{row:?}");
            for name in row.names {
                assert!(names.insert(name), "{name} has two rows");
                assert_eq!(Architecture::named(name), Some(row));
            }
        }
        assert_eq!(Architecture::named("bitnet-b1"), None);
        assert_eq!(Architecture::names().count(), names.len());
    }
}
