//! The table.

use bitnet_kernels::program::{Activation, Pairing};

use super::row::{Architecture, Layer};

/// A row for each architecture.
pub(super) static TABLE: [Architecture; 4] = [
    Architecture {
        names: &["llama"],
        activation: Activation::Silu,
        pairing: Pairing::Adjacent,
        layers: &[Layer::PLAIN],
    },
    Architecture {
        names: &["bitnet"],
        activation: Activation::Silu,
        pairing: Pairing::Halves,
        layers: &[Layer {
            sub_norms: true,
            ..Layer::PLAIN
        }],
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
    },
    Architecture {
        names: &["qwen3"],
        activation: Activation::Silu,
        pairing: Pairing::Halves,
        layers: &[Layer {
            head_norms: true,
            ..Layer::PLAIN
        }],
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
            for name in row.names {
                assert!(names.insert(name), "{name} has two rows");
                assert_eq!(Architecture::named(name), Some(row));
            }
        }
        assert_eq!(Architecture::named("bitnet-b1"), None);
        assert_eq!(Architecture::names().count(), names.len());
    }
}
