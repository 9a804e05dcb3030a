//! Every kernel of every instruction set that this CPU has, judged by the oracle, to the bit.
//!
//! A new entry of the table is tested by being in the table: the tests walk `Isa::available` and
//! `Format::ALL`. Outputs are filled with NaN before each call, so that what is not written shows.

use std::iter::once;
use std::sync::Arc;

use bitnet_fixtures::Noise;
use bitnet_fixtures::weights::matrix;
use bitnet_kernels::Format;
use bitnet_kernels::format::{Encoding, Matrix as Decoded, Reduction};
use bitnet_kernels::oracle;
use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{Activation, AttentionShape};

use crate::exec::attention::attend;
use crate::generic::columns::lines as make_lines;
use crate::generic::gemm::Panel;
use crate::isa::Isa;
use crate::isa::table::Kernels;
use crate::memory::pages::Plain;
use crate::memory::shared::SharedSlice;
use crate::microkernel::columns::{Column, LINE_BYTES, LINE_ROWS, Line, Lines};
use crate::microkernel::gemm::GROUP;
use crate::microkernel::operands::{Encoded, MatrixRef};

/// Widths around the lanes of a vector and the blocks of activations.
const WIDTHS: [usize; 10] = [1, 15, 16, 17, 31, 32, 33, 128, 300, 768];

fn kernels() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().into_iter().filter_map(Isa::kernels)
}

/// Rows that provoke rounding, saturation and zero scales, and rows with damage in them: first,
/// within, last, and between values that are equal.
fn rows(width: usize) -> Vec<Vec<f32>> {
    let mut rows = whole_rows(width);
    for (i, damage) in DAMAGE.into_iter().enumerate() {
        for at in [0, width / 2, width - 1] {
            let mut row = Noise::new(i as u64).evens(width);
            row[at] = damage;
            rows.push(row);
        }
        let mut row = vec![1e-40; width];
        row[width / 3] = damage;
        rows.push(row);
    }
    rows
}

/// Rows that provoke rounding, saturation and zero scales.
fn whole_rows(width: usize) -> Vec<Vec<f32>> {
    let mut spike = vec![1e-3; width];
    spike[width / 2] = -3e4;
    let halves = (0..width).map(|i| (i % 255) as f32 - 127.0 + 0.5).collect();
    vec![
        Noise::new(1).evens(width),
        vec![0.0; width],
        vec![-1e-30; width],
        vec![1e-38; width],
        vec![-1e-45; width],
        spike,
        halves,
    ]
}

fn same(ours: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(ours.len(), wanted.len(), "{what}");
    for (i, (ours, wanted)) in ours.iter().zip(wanted).enumerate() {
        assert!(
            same_bits(*ours, *wanted),
            "{what}, element {i}: {ours} is not {wanted}"
        );
    }
}

/// Whether both are the same number, to the bit, or both NaN: sign and payload of a NaN mean
/// nothing.
fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// What damage leaves behind.
const DAMAGE: [f32; 5] = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30];

#[test]
fn norms_and_gates_are_the_oracles() {
    for kernels in kernels() {
        for width in WIDTHS {
            let others: Vec<Vec<f32>> = once(Noise::new(2).evens(width))
                .chain(DAMAGE.map(|damage| {
                    let mut other = Noise::new(3).evens(width);
                    other[width / 2] = damage;
                    other
                }))
                .collect();
            for x in rows(width) {
                for other in &others {
                    judge_norm_and_gates(kernels, &x, other);
                }
            }
        }
    }
}

fn judge_norm_and_gates(kernels: &Kernels, x: &[f32], other: &[f32]) {
    let width = x.len();
    let mut out = vec![f32::NAN; width];
    (kernels.norm)(x, other, 1e-5, &mut out);
    let what = format!("{} norm of {width}", kernels.name);
    same(&out, &oracle::norm(x, other, 1e-5), &what);
    for activation in [Activation::Silu, Activation::Sigmoid, Activation::Relu2] {
        out.fill(-7.0);
        (kernels.gate)(activation, x, other, &mut out);
        let pairs = x.iter().zip(other);
        let wanted: Vec<f32> = pairs
            .map(|(x, up)| oracle::gated(activation, *x, *up))
            .collect();
        let what = format!("{} {activation:?} of {width}", kernels.name);
        same(&out, &wanted, &what);
    }
}

#[test]
fn encodings_are_the_oracles() {
    for kernels in kernels() {
        for encoding in Encoding::ALL {
            let block = encoding.block_len(1);
            let whole = |width: &usize| block.is_some_and(|block| width.is_multiple_of(block));
            for width in WIDTHS.into_iter().filter(whole) {
                for x in rows(width) {
                    let mut q = vec![99; width];
                    let mut scales = vec![f32::NAN; encoding.scales_per_row(width)];
                    let mut sums = vec![i32::MAX; scales.len()];
                    (kernels.encode)(encoding, &x, &mut q, &mut scales, &mut sums);
                    let wanted = encoding.encode(&x);
                    let what = format!("{} {encoding:?} of {width}", kernels.name);
                    assert_eq!(q, wanted.q, "{what}");
                    same(&scales, &wanted.scales, &what);
                    let blocks = wanted.q.chunks(width / scales.len());
                    let added = blocks.map(|q| q.iter().map(|q| i32::from(*q)).sum());
                    assert_eq!(sums, added.collect::<Vec<i32>>(), "{what}");
                }
            }
        }
    }
}

#[test]
fn rotations_and_halves_are_the_oracles() {
    use bitnet_kernels::program::{Pairing, Rope};

    for pairing in [Pairing::Adjacent, Pairing::Halves] {
        for (dims, dim) in [(2, 2), (16, 20), (34, 34), (64, 80), (128, 128)] {
            let rope = Rope {
                magnitude: 1.25,
                ..Rope::plain(dims, 500_000.0, pairing)
            };
            let (position, capacity) = (1234, 2000);
            let cos_sin: Vec<_> = oracle::rope_frequencies(&rope, capacity)
                .iter()
                .map(|frequency| oracle::rope_cos_sin(*frequency, rope.magnitude, position))
                .collect();
            let cosines = cos_sin.iter().map(|(cos, _)| *cos);
            let sines = cos_sin.iter().map(|(_, sin)| *sin);
            let rotations: Vec<f32> = cosines.chain(sines).collect();
            for x in rows(dim) {
                let mut wanted = x.clone();
                oracle::rope_rotate(&rope, capacity, &mut wanted, position);
                let halves: Vec<f32> = wanted.iter().map(|x| oracle::round_f16(*x)).collect();
                for kernels in kernels() {
                    let what = format!("{} {pairing:?} rotation of {dims} of {dim}", kernels.name);
                    let mut head = x.clone();
                    (kernels.rotate)(pairing, &rotations, &mut head);
                    same(&head, &wanted, &what);
                    let mut narrow = vec![99; dim];
                    (kernels.narrow)(&head, &mut narrow);
                    let widened: Vec<f32> = narrow
                        .iter()
                        .map(|half| half::f16::from_bits(*half).to_f32())
                        .collect();
                    same(&widened, &halves, &what);
                    (kernels.round_f16)(&mut head);
                    same(&head, &halves, &what);
                }
            }
        }
    }
}

/// Gates far out, where a state is kept whole or lost, and heads around the lanes of a vector.
#[test]
fn delta_rules_are_the_oracles() {
    use crate::generic::delta::DeltaToken;

    for kernels in kernels() {
        for size in [1, 15, 16, 17, 31, 32, 48, 64, 100, 128, 256, 272] {
            for (i, x) in rows(size).into_iter().enumerate() {
                let (eps, mut noise) = (1e-6, Noise::new(3));
                let (q, v) = (noise.evens(size), noise.evens(size));
                let mut state = noise.evens(size * size);
                let mut wanted_state = state.clone();
                for (alpha, beta) in [(0.3, -0.2), (-90.0, 90.0), (90.0, -90.0), (21.0, 3.0)] {
                    let token = DeltaToken {
                        q: &q,
                        k: &x,
                        v: &v,
                        alpha,
                        beta,
                        bias: 0.25,
                        rate: -0.125,
                        eps,
                    };
                    let (mut units, mut out) = (vec![f32::NAN; 2 * size], vec![f32::NAN; size]);
                    (kernels.delta_rule)(token, &mut state, &mut units, &mut out);
                    let decay = oracle::decay(alpha, token.bias, token.rate);
                    let share = oracle::share(beta);
                    let wanted =
                        oracle::delta_rule(&mut wanted_state, [&q, &x, &v], eps, decay, share);
                    let what = format!("{} delta rule of {size}, row {i}", kernels.name);
                    same(&out, &wanted, &what);
                    same(&state, &wanted_state, &what);
                }
            }
        }
    }
}

/// Tokens of activations in one encoding.
struct Tokens {
    rows: Vec<Vec<f32>>,
    q: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
    width: usize,
    per_token: usize,
}

impl Tokens {
    fn new(encoding: Encoding, count: usize, width: usize) -> Tokens {
        let adversarial = whole_rows(width);
        let row = |i: usize| {
            adversarial
                .get(i)
                .cloned()
                .unwrap_or_else(|| Noise::new(i as u64).evens(width))
        };
        Tokens::of(encoding, (0..count).map(row).collect())
    }

    fn of(encoding: Encoding, rows: Vec<Vec<f32>>) -> Tokens {
        let (count, width) = (rows.len(), rows[0].len());
        let (mut q, mut scales) = (Vec::new(), Vec::new());
        for row in &rows {
            let row = encoding.encode(row);
            q.extend(row.q);
            scales.extend(row.scales);
        }
        let per_token = scales.len() / count.max(1);
        let block = width.checked_div(per_token).unwrap_or(1);
        let sums = q
            .chunks(block)
            .map(|q| q.iter().map(|q| i32::from(*q)).sum())
            .collect();
        Tokens {
            rows,
            q,
            scales,
            sums,
            width,
            per_token,
        }
    }
}

/// Rows and blocks of a row, around the strips, tiles and pieces of rows.
const SHAPES: [(usize, usize); 10] = [
    (0, 1),
    (1, 1),
    (5, 1),
    (4, 3),
    (16, 2),
    (17, 3),
    (33, 2),
    (64, 5),
    (66, 2),
    (150, 1),
];

/// Width of a row of blocks; of formats without blocks, one with a tail behind the lanes.
fn width_of(format: Format, blocks: usize) -> usize {
    match format.block_len() {
        1 => 16 * blocks + 5,
        block => block * blocks,
    }
}

/// Holds every kernel for products of a matrix, given as its tensor's bytes, against the oracle.
fn judge_products(format: Format, (row_count, width): (usize, usize), bytes: &[u8], x: &Tokens) {
    let Some(product) = &format.descriptor().product else {
        return;
    };
    let decoded = Decoded::new(format, row_count.max(1), width, bytes).expect("a matrix");
    let matrix = MatrixRef {
        format,
        bytes,
        stride: format.row_bytes(width).expect("whole blocks"),
        scale: decoded.scale(),
    };
    let count = x.rows.len();
    let values: Vec<f32> = x.rows.concat();
    let encoded = Encoded {
        width: x.width,
        values: &values,
        q: &x.q,
        scales: &x.scales,
        sums: &x.sums,
        scales_per_token: x.per_token,
    };
    let wanted: Vec<f32> = (0..count * row_count)
        .map(|i| {
            let row = decoded.row(i % row_count);
            oracle::product(format, row, decoded.scale(), &x.rows[i / row_count])
        })
        .collect();
    let generic = matches!(product.reduction, Reduction::Blocks { .. });
    let kernels = kernels().flat_map(|kernels| {
        let blocks = generic.then_some(kernels.blocks);
        [Some(kernels.product(format, count)), blocks]
    });
    for kernel in kernels.flatten() {
        let mut panel = Panel::default();
        let mut out = vec![f32::NAN; count * row_count];
        (kernel.run)(
            &matrix,
            0..row_count,
            &encoded,
            0..count,
            &mut panel,
            &mut out,
        );
        for (i, (y, wanted)) in out.iter().zip(&wanted).enumerate() {
            let (token, row) = (i / row_count, i % row_count);
            assert!(
                same_bits(*y, *wanted),
                "{} of {row_count}x{width}, row {row}, token {token}: {y} is not {wanted}",
                kernel.name
            );
        }
    }
    judge_listed(&matrix, row_count, &encoded, &wanted);
    judge_columns(&matrix, row_count, &encoded, &wanted);
}

/// Holds every kernel for some columns of a matrix against `[tokens, rows]` results: with all
/// columns whose activation is not 0.
fn judge_columns(matrix: &MatrixRef<'_>, rows: usize, x: &Encoded<'_>, wanted: &[f32]) {
    if rows == 0 {
        return;
    }
    for kernels in kernels() {
        let Some(columns) = kernels.columns(matrix.format) else {
            continue;
        };
        let of_column = rows.div_ceil(LINE_ROWS);
        let mut lines = vec![Line([0xff; LINE_BYTES]); x.width * of_column];
        let mut made = [Line([0xff; LINE_BYTES]); GROUP];
        for line in 0..of_column {
            let rows = line * LINE_ROWS..rows.min((line + 1) * LINE_ROWS);
            for group in 0..x.width / GROUP {
                make_lines(matrix, rows.clone(), group, &mut made);
                for (i, made) in made.iter().enumerate() {
                    lines[(group * GROUP + i) * of_column + line] = *made;
                }
            }
        }
        let lines = Lines {
            lines: &lines,
            of_column,
        };
        for (token, wanted) in wanted.chunks_exact(rows).enumerate().take(9) {
            let all = (0..).zip(x.q(token));
            let list: Vec<Column> = all
                .filter(|(_, q)| **q != 0)
                .map(|(index, q)| Column { index, q: *q })
                .collect();
            let mut sums = vec![[0; LINE_ROWS]; of_column];
            let (some, others) = list.split_at(list.len() / 3);
            (columns.add)(lines, others, &mut sums);
            (columns.add)(lines, some, &mut sums);
            let mut out = vec![f32::NAN; rows];
            (columns.finish)(matrix, &sums, x, token, &mut out);
            for (row, (y, wanted)) in out.iter().zip(wanted).enumerate() {
                assert!(
                    same_bits(*y, *wanted),
                    "{} of {rows}x{}, row {row}, token {token}: {y} is not {wanted}",
                    columns.name,
                    x.width
                );
            }
        }
    }
}

/// Rows around lines, and activations of which some are 0: none, one, most, all.
#[test]
fn columns_whose_activation_is_zero_do_not_count() {
    for (rows, width) in [(1, 128), (255, 256), (256, 384), (257, 128), (600, 768)] {
        let bytes = matrix(Format::I2S, rows, width, 5, "judged");
        let mut x: Vec<Vec<f32>> = (0..5).map(|i| Noise::new(i).evens(width)).collect();
        for (token, x) in x.iter_mut().enumerate() {
            for (i, x) in x.iter_mut().enumerate() {
                let kept = match token {
                    0 => true,
                    1 => i != width / 2,
                    2 => i % 3 == 1,
                    3 => i == width - 1,
                    _ => false,
                };
                *x = if kept { *x } else { 0.0 };
            }
        }
        let x = Tokens::of(Encoding::I8, x);
        judge_products(Format::I2S, (rows, width), &bytes, &x);
    }
}

/// Holds every kernel for some rows of a matrix against `[tokens, rows]` results.
fn judge_listed(matrix: &MatrixRef<'_>, rows: usize, x: &Encoded<'_>, wanted: &[f32]) {
    let all = 0..rows as u32;
    let lists: [Vec<u32>; 3] = [
        all.clone().collect(),
        all.clone().skip(1).step_by(3).collect(),
        all.last().into_iter().collect(),
    ];
    for kernel in kernels().filter_map(|kernels| kernels.listed(matrix.format)) {
        for list in lists.iter().filter(|list| !list.is_empty()) {
            for (token, wanted) in wanted.chunks_exact(rows).enumerate().take(3) {
                let mut out = vec![f32::NAN; list.len()];
                (kernel.run)(matrix, list, x, token, &mut out);
                for (row, y) in list.iter().zip(&out) {
                    let wanted = wanted[*row as usize];
                    assert!(
                        same_bits(*y, wanted),
                        "{} of {rows}x{}, row {row}, token {token}: {y} is not {wanted}",
                        kernel.name,
                        x.width
                    );
                }
            }
        }
    }
}

#[test]
fn matrix_products_are_the_oracles() {
    for format in Format::ALL {
        for (row_count, blocks) in SHAPES {
            let width = width_of(format, blocks);
            let bytes = matrix(format, row_count.max(1), width, 5, "judged");
            let few = 1..=17;
            let many = [24, 32, 33, 64, 65, 300]
                .into_iter()
                .filter(|_| blocks == 3);
            for count in few.chain(many) {
                let x = Tokens::new(format.encoding(), count, width);
                judge_products(format, (row_count, width), &bytes, &x);
            }
        }
    }
}

/// Rows and tokens enough for tables of sums, whatever they are filled up to: of noise, of sums as
/// large as they come, and with a code that no ternary weight has.
#[test]
fn ternary_products_of_many_rows_with_many_tokens_are_the_oracles() {
    for (format, width) in [
        (Format::I2S, 128),
        (Format::I2S, 640),
        (Format::TQ2_0, 512),
        (Format::TQ1_0, 512),
    ] {
        let row_count = 131;
        let mut bytes = matrix(format, row_count, width, 5, "judged");
        let row = format.row_bytes(width).expect("whole blocks");
        // I2_S and TQ2_0 begin with codes: 256 weights of 1, and of -1.
        if format != Format::TQ1_0 {
            let codes = row.min(64);
            bytes[..codes].fill(0xaa);
            bytes[row..row + codes].fill(0);
        }
        for count in [15, 16, 33] {
            let x = Tokens::new(format.encoding(), count, width);
            judge_products(format, (row_count, width), &bytes, &x);
        }
        let ends = [1.0, -1.0].map(|x| vec![x; width]);
        let rows = ends.iter().cycle().take(16).cloned().collect();
        let ends = Tokens::of(format.encoding(), rows);
        judge_products(format, (row_count, width), &bytes, &ends);
        if format != Format::TQ1_0 {
            bytes[130 * row + 7] |= 0x30;
            judge_products(format, (row_count, width), &bytes, &ends);
        }
    }
}

/// Fixtures hold trits alone; `Q2_0` has a fourth code.
#[test]
fn the_fourth_code_is_the_oracles_too() {
    for format in [Format::Q2_0, Format::PQ2_0] {
        let (row_count, width) = (18, width_of(format, 3));
        let mut bytes = matrix(format, row_count, width, 5, "judged");
        let mut noise = Noise::new(3);
        for block in bytes.chunks_mut(format.block_bytes()) {
            block[2..].fill_with(|| noise.below(256) as u8);
        }
        for count in [1, 5, 7] {
            let x = Tokens::new(format.encoding(), count, width);
            judge_products(format, (row_count, width), &bytes, &x);
        }
    }
}

/// A matrix with damage in its last block but for one: every scale that the format has, wherever it
/// lies, is infinite or NaN once. Scales of a whole tensor are damaged, too.
fn damaged(format: Format, rows: usize, width: usize) -> Vec<Vec<u8>> {
    let whole = matrix(format, rows, width, 5, "damaged");
    let packed = format.row_bytes(width).expect("whole blocks") * rows;
    let mut all = Vec::new();
    if let Some(trailer) = &format.descriptor().trailer {
        for scale in DAMAGE {
            let mut bytes = whole[..packed].to_vec();
            (trailer.pack)(scale, &mut bytes);
            all.push(bytes);
        }
    }
    let block = format.block_bytes();
    let first = packed - 2 * block;
    let mut weights = vec![0.0; format.block_len()];
    // As the upper half of an f32 and as an f16: infinities and NaN.
    for bits in [0x7f80_u16, 0x7c00, 0xfc00, 0x7e00] {
        for at in first..=first + block - size_of::<u16>() {
            let mut bytes = whole.clone();
            bytes[at..at + size_of::<u16>()].copy_from_slice(&bits.to_le_bytes());
            format.dequantize_row(&bytes[first..first + block], &mut weights);
            if !weights.iter().all(|weight| weight.is_finite()) {
                all.push(bytes);
            }
        }
    }
    all
}

#[test]
fn damage_of_weights_and_activations_gets_through_products_as_through_the_oracles() {
    for format in Format::ALL {
        let (row_count, width) = (33, width_of(format, 3));
        let damaged = damaged(format, row_count, width);
        assert!(!damaged.is_empty(), "{format} has nothing to damage");
        for count in [1, 2, 7, 33] {
            let x = Tokens::new(format.encoding(), count, width);
            for bytes in &damaged {
                judge_products(format, (row_count, width), bytes, &x);
            }
        }
        let whole = matrix(format, row_count, width, 5, "whole");
        let rows: Vec<Vec<f32>> = rows(width);
        for rows in rows.chunks(6).chain(rows.chunks(1)) {
            let x = Tokens::of(format.encoding(), rows.to_vec());
            judge_products(format, (row_count, width), &whole, &x);
        }
    }
}

/// Codes of 3 never occur in a valid file, but a kernel must not overflow on them either.
#[test]
fn the_largest_codes_and_activations_do_not_overflow() {
    let width = 6912;
    let bytes = vec![0xff; width / 4];
    let matrix = MatrixRef {
        format: Format::I2S,
        bytes: &bytes,
        stride: width / 4,
        scale: 1.0,
    };
    for kernels in kernels() {
        for (activation, tokens) in [(-128_i8, 1), (127, 1), (-128, 5), (127, 5)] {
            let sum = i32::from(activation) * width as i32;
            let x = Encoded {
                width,
                values: &[],
                q: &vec![activation; tokens * width],
                scales: &vec![1.0; tokens],
                sums: &vec![sum; tokens],
                scales_per_token: 1,
            };
            let mut out = vec![f32::NAN; tokens];
            let kernel = kernels.product(Format::I2S, tokens);
            (kernel.run)(
                &matrix,
                0..1,
                &x,
                0..tokens,
                &mut Panel::default(),
                &mut out,
            );
            let wanted = vec![(2 * sum) as f32; tokens];
            assert_eq!(out, wanted, "{}", kernels.name);
            judge_listed(&matrix, 1, &x, &wanted);
            judge_columns(&matrix, 1, &x, &wanted);
        }
    }
}

#[test]
fn attention_is_the_oracles() {
    // Around strips of 16 keys, groups of such strips, blocks of 16 elements of a head, and heads
    // side by side.
    let shapes = [
        (1, 16),
        (2, 100),
        (15, 64),
        (16, 64),
        (17, 128),
        (33, 48),
        (49, 80),
        (63, 64),
        (64, 128),
        (65, 112),
        (127, 256),
        (129, 16),
        (255, 32),
        (257, 128),
        (300, 64),
        (2048, 128),
    ];
    for (i, (len, dim)) in shapes.into_iter().enumerate() {
        let heads = 1 + i % 8;
        // Values that binary16 holds, so that both types of cache must give the same.
        let halves = |len, seed| -> Vec<f32> {
            Noise::new(seed)
                .evens(len)
                .into_iter()
                .map(oracle::round_f16)
                .collect()
        };
        let q = halves(heads * dim, 1);
        let (keys, values) = (halves(len * dim, 2), halves(len * dim, 3));
        judge_attention(heads, dim, [&q, &keys, &values]);
    }
}

#[test]
fn damage_of_queries_keys_and_values_gets_through_attention_as_through_the_oracles() {
    let (len, dim, heads) = (37, 48, 5);
    let fine = |count: usize, seed| {
        let noise = Noise::new(seed).evens(count).into_iter();
        noise.map(oracle::round_f16).collect::<Vec<f32>>()
    };
    let fine = [fine(heads * dim, 1), fine(len * dim, 2), fine(len * dim, 3)];
    for damage in DAMAGE.map(oracle::round_f16) {
        for part in 0..3 {
            let count = fine[part].len();
            for at in [0, dim + 3, count / 2, count - 1] {
                let mut damaged = fine.clone();
                damaged[part][at] = damage;
                judge_attention(heads, dim, damaged.each_ref().map(Vec::as_slice));
            }
        }
    }
}

/// Holds attention of `[heads, dim]` queries over `[len, dim]` keys and values, all of which
/// binary16 holds, against the oracle: in both types of cache, through windows of all kinds.
fn judge_attention(heads: usize, dim: usize, [q, keys, values]: [&[f32]; 3]) {
    use crate::generic::attention::{PAGE, Visible};
    use crate::memory::shared::Settled;

    let (len, stride) = (keys.len() / dim, dim_stride(dim));
    // As the cache lays them out: pages with keys in strips of 16 positions, and values in padded
    // rows behind them.
    let mut pages = vec![vec![f32::NAN; PAGE * (dim + stride)]; len.div_ceil(PAGE)];
    for i in 0..len {
        let (page, at) = (&mut pages[i / PAGE], i % PAGE);
        for d in 0..dim {
            page[at / LANES * dim * LANES + d * LANES + at % LANES] = keys[i * dim + d];
        }
        let row = PAGE * dim + at * stride;
        page[row..row + stride].fill(0.0);
        page[row..row + dim].copy_from_slice(&values[i * dim..(i + 1) * dim]);
    }
    let pages_f32: Vec<_> = pages.iter().map(|page| shared(page)).collect();
    let half = |x: &f32| half::f16::from_f32(*x).to_bits();
    let halves = pages.iter().map(|page| page.iter().map(half).collect());
    let pages_f16: Vec<_> = halves.map(|page: Vec<u16>| shared(&page)).collect();
    // SAFETY: nobody writes to them any more.
    let (settled_f32, settled_f16) =
        unsafe { (Settled::new(&pages_f32), Settled::new(&pages_f16)) };
    // Everything, and windows that start at the end, in a strip, and at the edge of one.
    let windows = [None, Some(1), Some(17), Some(len.div_ceil(2)), Some(32)];
    for window in windows {
        let lowest = len - window.map_or(len, |window| window.min(len));
        let hidden = lowest % LANES;
        let start = lowest - hidden;
        let f32 = Visible {
            pages: settled_f32,
            keys: 0,
            values: PAGE * dim,
            stride,
            start,
            hidden,
            len: len - start,
        };
        let f16 = Visible {
            pages: settled_f16,
            keys: 0,
            values: PAGE * dim,
            stride,
            start,
            hidden,
            len: len - start,
        };
        for kernels in kernels() {
            for round in [false, true] {
                let what = format!(
                    "{} attention of {heads} heads over {window:?} of {len} of {dim}",
                    kernels.name
                );
                let mut weights = vec![f32::NAN; 4 * len.next_multiple_of(LANES)];
                let judge = |out: &[f32]| {
                    for (q, out) in q.chunks_exact(dim).zip(out.chunks_exact(stride)) {
                        let wanted = oracle::attention(q, keys, values, 0.125, window, round);
                        same(&out[..dim], &wanted, &what);
                    }
                };
                let shape = AttentionShape {
                    heads,
                    kv_heads: 1,
                    head_dim: dim,
                    scale: 0.125,
                    window,
                    round_weights: round,
                };
                let mut out = vec![f32::NAN; heads * stride];
                let of_f32 = (&kernels.attention_f32, kernels.softmax);
                attend(of_f32, &shape, q, f32, &mut weights, &mut out);
                judge(&out);
                out.fill(f32::NAN);
                let of_f16 = (&kernels.attention_f16, kernels.softmax);
                attend(of_f16, &shape, q, f16, &mut weights, &mut out);
                judge(&out);
            }
        }
    }
}

fn shared<T: Plain + Default>(values: &[T]) -> Arc<SharedSlice<T>> {
    let mut slice = SharedSlice::default();
    slice.reserve(values.len());
    slice.as_mut().copy_from_slice(values);
    Arc::new(slice)
}

fn dim_stride(dim: usize) -> usize {
    dim.next_multiple_of(LANES)
}

#[test]
fn rounds_are_really_computed() {
    for kernels in kernels() {
        let one = (kernels.peak.run)(1);
        assert!(one > 0, "{}", kernels.name);
        assert_eq!((kernels.peak.run)(13), 13 * one, "{}", kernels.name);
    }
}
