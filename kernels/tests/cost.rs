//! What a pass costs, counted by hand.

use bitnet_fixtures::ProgramBuilder;
use bitnet_fixtures::program::product;
use bitnet_kernels::format::{Encoding, Format};
use bitnet_kernels::program::{AttentionShape, LayerCache, Op, Program, Rows, Stretch, Work};

/// A layer of attention and a matrix of 4 x 256 trits, and a head of 10 x 256 halves.
fn program(window: Option<usize>) -> Program {
    let mut b = ProgramBuilder::new(0);
    let x = b.buffer("x", 256, Encoding::F32, Rows::Batch);
    let matrix = b.matrix("matrix", Format::TQ2_0, 4, 256);
    let head = b.matrix("head", Format::F16, 10, 256);
    let layer = b.cache(LayerCache::KeysAndValues {
        kv_heads: 2,
        head_dim: 64,
    });
    b.vocabulary(10)
        .op(Op::Embed {
            table: head,
            scale: 1.0,
            out: x,
        })
        .op(Op::Linear {
            products: vec![(product(x, matrix), x)],
            accumulate: false,
        })
        .op(Op::Attention {
            q: x,
            shape: AttentionShape {
                heads: 4,
                kv_heads: 2,
                head_dim: 64,
                scale: 0.125,
                window,
                round_weights: false,
            },
            layer,
            out: x,
        })
        .op(Op::Head {
            product: product(x, head),
            logits: x,
        });
    b.finish().0
}

/// A pass of three tokens, and one of one token, whose logits are wanted.
fn work() -> Work {
    let stretch = |start, tokens| Stretch {
        sequences: 1,
        start,
        tokens,
    };
    Work {
        passes: 2,
        tokens: 4,
        selected: 1,
        selecting: 1,
        stretches: vec![stretch(0, 3), stretch(3, 1)],
    }
}

#[test]
fn two_passes_of_three_and_one_token() {
    let cost = program(None).cost(&work());
    // Two readings of 4 blocks of 66 bytes, and 4 rows of 512 bytes looked up.
    assert_eq!(cost.weight_bytes, 2 * 4 * 66 + 4 * 512);
    assert_eq!(cost.head_bytes, 10 * 512);
    // 2 heads of 64 keys and 64 values of 2 bytes, at 3 positions and at 4.
    assert_eq!(cost.cache_bytes, (3 + 4) * 2 * 64 * 2 * 2);
    assert_eq!(cost.products, 4 * 4 * 256 + 10 * 256);
    assert_eq!(cost.attention, (1 + 2 + 3 + 4) * 2 * 64 * 4);
    assert_eq!(
        cost.bytes(),
        cost.weight_bytes + cost.head_bytes + cost.cache_bytes
    );
    assert_eq!(cost.multiply_adds(), cost.products + cost.attention);
}

#[test]
fn a_window_of_two_reads_and_multiplies_less() {
    let (all, windowed) = (program(None).cost(&work()), program(Some(2)).cost(&work()));
    assert_eq!(windowed.cache_bytes, (3 + 2) * 2 * 64 * 2 * 2);
    assert_eq!(windowed.attention, (1 + 2 + 2 + 2) * 2 * 64 * 4);
    assert_eq!(windowed.weight_bytes, all.weight_bytes);
    assert_eq!(windowed.products, all.products);
}
