//! Searches through a screen, judged by all logits: heads that are hard to tell apart, on every
//! instruction set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitnet_fixtures::program::product;
use bitnet_fixtures::{Noise, ProgramBuilder, Transformer};
use bitnet_kernels::format::{Encoding, plain};
use bitnet_kernels::program::{Op, Product, Rows};
use bitnet_kernels::{
    Batch, Candidate, Choice, Format, Forward, Output, ScreenParts, Screening, Segment, Telemetry,
    TokenSet, Want, oracle,
};

use super::PASSES;
use crate::backend::{CpuBackend, CpuOptions};
use crate::generic::screen::{Bounds, Precision, Query, Rows as ScreenRows, RowsMut, blocks};
use crate::isa::Isa;
use crate::isa::table::Kernels;
use crate::microkernel::operands::MatrixRef;
use crate::microkernel::screen::{Coarse, CodeLine, Fine, RUN};

/// A backend whose hidden state for token `t` is row `t` of `x`. All logits are multiplied by
/// `factor`.
fn backend(
    x: &[Vec<f32>],
    (format, head): (Format, &[Vec<f32>]),
    factor: f32,
    isa: Isa,
    threads: usize,
) -> CpuBackend {
    let pack = |format, rows: &[Vec<f32>]| {
        let mut bytes = Vec::new();
        match format {
            Format::F16 => plain::pack_f16(&rows.concat(), &mut bytes),
            Format::BF16 => plain::pack_bf16(&rows.concat(), &mut bytes),
            _ => plain::pack_f32(&rows.concat(), &mut bytes),
        }
        bytes
    };
    let mut b = ProgramBuilder::new(0);
    let (width, vocabulary) = (x[0].len(), head.len());
    let hidden = b.buffer("hidden", width, Encoding::F32, Rows::Batch);
    let selected = b.buffer("selected", width, Encoding::F32, Rows::Selected);
    let logits = b.buffer("logits", vocabulary, Encoding::F32, Rows::Selected);
    let table = b.packed(
        "activations",
        Format::F32,
        (x.len(), width),
        &pack(Format::F32, x),
    );
    let head = b.packed("head", format, (vocabulary, width), &pack(format, head));
    b.vocabulary(vocabulary)
        .op(Op::Embed {
            table,
            scale: 1.0,
            out: hidden,
        })
        .op(Op::Select {
            x: hidden,
            out: selected,
        })
        .op(Op::Head {
            product: Product {
                scale: factor,
                ..product(selected, head)
            },
            logits,
        });
    let (program, weights) = b.finish();
    let options = CpuOptions {
        threads: Some(threads),
        isa: Some(isa),
        ..CpuOptions::default()
    };
    CpuBackend::load(program, weights, options).expect("the weights fit the program")
}

/// What candidates are compared by, NaN and all.
fn bits(candidates: &[Candidate]) -> Vec<(u32, u32)> {
    let bits = |candidate: &Candidate| (candidate.id, candidate.logit.to_bits());
    candidates.iter().map(bits).collect()
}

/// Searches again and again while the screen is made and when it is complete, and compares with all
/// logits.
fn judge(what: &str, x: &[Vec<f32>], format: Format, head: &[Vec<f32>]) {
    for factor in [1.0, 0.1] {
        judge_with(&format!("{what}, times {factor}"), x, format, head, factor);
    }
}

fn judge_with(what: &str, x: &[Vec<f32>], format: Format, head: &[Vec<f32>], factor: f32) {
    for isa in Isa::available() {
        let mut backend = backend(x, (format, head), factor, isa, 2);
        judge_passes(&format!("{what}, {isa}"), &mut backend, x.len(), head.len());
    }
}

/// The same of a backend whose hidden states are of so many tokens.
fn judge_passes(what: &str, backend: &mut CpuBackend, tokens: usize, rows: usize) {
    let cache = backend.create_cache(tokens).expect("a cache");
    let tokens: Vec<u32> = (0..tokens as u32).collect();
    let segment = Segment {
        cache,
        start: 0,
        len: tokens.len(),
    };
    let batch = Batch {
        tokens: &tokens,
        segments: &[segment],
        selected: &tokens,
    };
    let mut out = Output::default();
    backend
        .forward(&batch, Want::Logits, &mut out)
        .expect("all logits");
    let logits = out.logits.clone();
    for pass in 0..PASSES + 2 {
        for k in [1, 7, 40] {
            backend
                .forward(&batch, Want::Top(k), &mut out)
                .expect("the best logits");
            for (token, logits) in logits.chunks_exact(rows).enumerate() {
                let found = &out.top[token * k..(token + 1) * k];
                assert_eq!(
                    bits(found),
                    bits(&oracle::top(logits, k)),
                    "{what}, pass {pass}, the best {k} of token {token}"
                );
            }
        }
        // While the screen is made, and behind it.
        if pass == 0 || pass > PASSES {
            judge_choices(&format!("{what}, pass {pass}"), backend, &batch, &logits);
        }
    }
    let report = backend.screening().expect("a screen was made");
    assert_eq!((report.ready, report.rows), (rows, rows), "{what}");
}

/// Looks for the best among some tokens: few, whose logits are computed one by one, a run of them,
/// half of them, all but one, and none.
fn judge_choices(what: &str, backend: &mut CpuBackend, batch: &Batch<'_>, logits: &[f32]) {
    let rows = (logits.len() / batch.selected.len()) as u32;
    let set = |keeps: &dyn Fn(u32) -> bool| {
        let mut set = TokenSet::default();
        // One that no row stands for is not found.
        let ids = (0..rows).filter(|id| keeps(*id)).chain([rows + 40]);
        ids.for_each(|id| set.insert(id));
        set
    };
    let few = |seed: u32| set(&|id| (id + seed).is_multiple_of(rows / 20));
    let [some, others, run] = [few(1), few(5), set(&|id| id / 300 == 1)];
    let half = set(&|id| id.count_ones().is_multiple_of(2));
    let [most, none] = [set(&|id| id != 3), TokenSet::default()];
    let mut out = Output::default();
    for choices in [
        [(1, Some(&some)), (1, Some(&others))],
        [(40, Some(&some)), (7, Some(&others))],
        [(7, Some(&half)), (1, Some(&some))],
        [(1, None), (40, Some(&half))],
        [(40, None), (1, Some(&most))],
        [(7, Some(&run)), (7, Some(&run))],
        [(1, Some(&none)), (7, Some(&most))],
        [(2, Some(&none)), (1, Some(&none))],
    ] {
        let choices = choices.map(|(count, among)| Choice { count, among });
        let choices: Vec<Choice<'_>> = choices
            .into_iter()
            .cycle()
            .take(batch.selected.len())
            .collect();
        let most = choices.iter().map(|choice| choice.count).max();
        let most = most.expect("a choice");
        backend
            .forward_choices(batch, &choices, &mut out)
            .expect("the best logits");
        let rows = logits.chunks_exact(rows as usize).zip(&choices);
        for (token, (logits, choice)) in rows.enumerate() {
            let mut wanted = Vec::new();
            Candidate::best_among(logits, choice.among, choice.count, &mut wanted);
            wanted.resize(most, Candidate::NONE);
            let found = &out.top[token * most..(token + 1) * most];
            assert_eq!(bits(found), bits(&wanted), "{what}, {choice:?}");
        }
    }
}

/// Rows of a head: enough to have a screen for the best 40.
const HEAD_ROWS: usize = 1000;

#[test]
fn heads_without_a_pattern() {
    for (format, width) in [
        (Format::F16, 320),
        (Format::BF16, 256),
        (Format::F32, 77),
        (Format::F16, 5),
    ] {
        for tokens in [1, 3, 4, 9] {
            let x: Vec<Vec<f32>> = (0..tokens).map(|t| Noise::new(t).normals(width)).collect();
            let head: Vec<Vec<f32>> = (0..HEAD_ROWS as u64)
                .map(|r| Noise::new(99 + r).normals(width))
                .collect();
            judge(&format!("{format} of {width} columns"), &x, format, &head);
        }
    }
}

#[test]
fn rows_that_are_equal_or_nearly() {
    let width = 256;
    let x = vec![Noise::new(1).normals(width), Noise::new(2).normals(width)];
    let row = Noise::new(3).normals(width);
    let equal = vec![row.clone(); HEAD_ROWS];
    judge("equal rows", &x, Format::F16, &equal);
    let nearly: Vec<Vec<f32>> = (0..HEAD_ROWS)
        .map(|r| {
            let mut row = row.clone();
            row[r % width] += (r as f32 - 500.0) * 1e-5;
            row
        })
        .collect();
    judge("nearly equal rows", &x, Format::F32, &nearly);
}

#[test]
fn numbers_at_the_ends_of_their_range() {
    let width = 96;
    let head: Vec<Vec<f32>> = (0..HEAD_ROWS)
        .map(|r| {
            let mut row = Noise::new(r as u64).normals(width);
            match r % 10 {
                0 => row.iter_mut().for_each(|x| *x *= 1e-38),
                1 => row.iter_mut().for_each(|x| *x *= 1e36),
                2 => row.fill(0.0),
                3 => row[7] = 1e30,
                4 => row[5] = f32::NAN,
                5 => row[5] = f32::INFINITY,
                6 => row[5] = -1e38,
                7 => row.iter_mut().for_each(|x| *x *= 1e-20),
                _ => {}
            }
            row
        })
        .collect();
    let mut spike = vec![1e-3; width];
    spike[9] = 3e4;
    let mut infinite = Noise::new(5).normals(width);
    infinite[3] = f32::INFINITY;
    let mut nan = Noise::new(6).normals(width);
    nan[4] = f32::NAN;
    let x = vec![
        Noise::new(4).normals(width),
        vec![0.0; width],
        vec![1e-30; width],
        vec![1e30; width],
        spike,
        infinite,
        nan,
    ];
    for format in [Format::F16, Format::BF16, Format::F32] {
        judge("numbers at the ends of their range", &x, format, &head);
    }
}

/// Heads that are read as they are have their rows computed one by one, too.
#[test]
fn the_best_of_some_tokens_are_found_in_a_head_of_every_format() {
    for format in Format::ALL.into_iter().filter(|it| it.can_multiply()) {
        let model = Transformer {
            layers: 1,
            embedding: format,
            ..Transformer::TINY
        };
        for isa in Isa::available() {
            let (program, weights) = model.program();
            let options = CpuOptions {
                threads: Some(2),
                isa: Some(isa),
                ..CpuOptions::default()
            };
            let mut backend = CpuBackend::load(program, weights, options).expect("it loads");
            let cache = backend.create_cache(3).expect("a cache");
            let segment = Segment {
                cache,
                start: 0,
                len: 3,
            };
            let batch = Batch {
                tokens: &[5, 900, 31],
                segments: &[segment],
                selected: &[0, 2],
            };
            let mut out = Output::default();
            backend
                .forward(&batch, Want::Logits, &mut out)
                .expect("all logits");
            let what = format!("a head of {format}, {isa}");
            judge_choices(&what, &mut backend, &batch, &out.logits);
        }
    }
}

/// Searches for the best of each token of `tokens`, one to a pass, and returns what the last
/// `counted` of them read.
fn read_by_last(backend: &mut CpuBackend, tokens: &[u32], counted: usize) -> Screening {
    let cache = backend.create_cache(1).expect("a cache");
    let mut before = Screening::default();
    for (i, token) in tokens.iter().enumerate() {
        if i + counted == tokens.len() {
            before = backend.screening().unwrap_or_default();
        }
        let segment = Segment {
            cache,
            start: 0,
            len: 1,
        };
        let batch = Batch {
            tokens: &[*token],
            segments: &[segment],
            selected: &[0],
        };
        let mut out = Output::default();
        backend
            .forward(&batch, Want::Top(1), &mut out)
            .expect("the best logit");
    }
    let after = backend.screening().expect("a screen was made");
    Screening {
        tokens: after.tokens - before.tokens,
        bytes_read: after.bytes_read - before.bytes_read,
        exact_rows: after.exact_rows - before.exact_rows,
        ..after
    }
}

/// What a search is for: that it reads few rows where logits differ as those of a model do, and of
/// the screen the high bits of all rows or all bits at once, whichever is less.
#[test]
fn few_rows_are_read_and_what_the_last_search_needed_of_the_screen() {
    // Noise of fewer columns needs the low bits of few rows.
    let (width, rows) = (2560, 4000);
    let mut head: Vec<Vec<f32>> = (0..rows)
        .map(|r| Noise::new(7 + r).normals(width))
        .collect();
    // What is like no row, and what is like one.
    let x = vec![Noise::new(1).normals(width), Noise::new(2).normals(width)];
    head[700] = x[1].clone();
    let mut backend = backend(&x, (Format::F16, &head), 1.0, Isa::best(), 1);
    let made = [0; PASSES];
    let with = |tokens: &[u32]| [&made[..], tokens].concat();
    // The first search behind the last of another kind is not counted.
    for (tokens, all_bits) in [
        (with(&[0, 0, 0, 0]), true),
        (vec![1, 1, 1, 1], false),
        (vec![0, 0, 0], true),
    ] {
        let read = read_by_last(&mut backend, &tokens, 2);
        assert_eq!(read.tokens, 2, "{read:?}");
        assert!(read.exact_rows < 2 * rows / 20, "{read:?}");
        let share = read.bytes_read as f64 / (2 * read.bytes) as f64;
        let expected = if all_bits { 0.98..1.06 } else { 0.6..0.75 };
        assert!(expected.contains(&share), "{share}, {read:?}");
    }
}

/// A screen of another process, of which one part is not as it was made.
struct Handed {
    parts: Arc<dyn ScreenParts>,
    damaged: Option<usize>,
    is_damaged: AtomicBool,
}

impl ScreenParts for Handed {
    fn part(&self, index: usize) -> Option<&[u8]> {
        if Some(index) == self.damaged {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        let is_damaged = self.is_damaged.load(Ordering::Relaxed);
        self.parts.part(index).filter(|_| !is_damaged)
    }
}

/// What a kept screen is for: the first pass reads a few rows of the head. And what must hold
/// whatever was kept: the best logits.
#[test]
fn a_screen_that_another_process_has_made_finds_the_same_from_the_first_pass_on() {
    let width = 320;
    let head: Vec<Vec<f32>> = (0..HEAD_ROWS as u64)
        .map(|r| Noise::new(99 + r).normals(width))
        .collect();
    for (tokens, threads) in [(1, 1), (4, 2), (9, 3)] {
        let x: Vec<Vec<f32>> = (0..tokens as u64)
            .map(|t| Noise::new(t).normals(width))
            .collect();
        let load = || backend(&x, (Format::F16, &head), 1.0, Isa::best(), threads);
        let mut first = load();
        judge_passes("made", &mut first, tokens, HEAD_ROWS);
        let screen = first.screen().expect("a head of floats");
        let (form, parts) = (screen.form(), screen.complete().expect("made"));
        for (index, len) in form.parts.iter().enumerate() {
            let part = parts.part(index).map(<[u8]>::len);
            assert_eq!(part, Some(*len), "part {index}");
        }
        assert_eq!(parts.part(form.parts.len()), None);
        drop(first);
        for damaged in (0..form.parts.len()).map(Some).chain([None]) {
            let mut second = load();
            let screen = second.screen().expect("a head of floats");
            assert_eq!(screen.form(), form);
            let is_damaged = AtomicBool::new(false);
            screen.take(Arc::new(Handed {
                parts: Arc::clone(&parts),
                damaged,
                is_damaged,
            }));
            assert!(screen.complete().is_none());
            let what = format!("{tokens} tokens, part {damaged:?} damaged");
            if tokens == 1 && damaged.is_none() {
                let read = read_by_last(&mut second, &[0], 1);
                assert_eq!((read.tokens, read.ready), (1, 256), "{read:?}");
                assert!(read.exact_rows < HEAD_ROWS as u64 / 10, "{read:?}");
            }
            judge_passes(&what, &mut second, tokens, HEAD_ROWS);
            let kept = second.screening().expect("made").kept;
            assert_eq!(kept == HEAD_ROWS, damaged.is_none(), "{what}: {kept}");
            let again = second.screen().and_then(|screen| screen.complete());
            let again = again.expect("made");
            // All but what the last search needed.
            for index in 0..form.parts.len() - 1 {
                let what = format!("{what}: part {index}");
                assert!(again.part(index) == parts.part(index), "{what}");
            }
        }
    }
}

/// The memory of a screen, as a kernel made it.
struct Made {
    coarse: Vec<Coarse>,
    fine: Vec<Fine>,
    scale: Vec<f32>,
    coarse_error: Vec<f32>,
    error: Vec<f32>,
    norm: Vec<f32>,
}

impl Made {
    fn rows(&self) -> ScreenRows<'_> {
        ScreenRows {
            coarse: &self.coarse,
            fine: &self.fine,
            bounds: Bounds {
                scale: &self.scale,
                coarse_error: &self.coarse_error,
                error: &self.error,
                norm: &self.norm,
            },
        }
    }

    /// The bits of all that is known of rows.
    fn bounds(&self) -> Vec<u32> {
        let bounds = [&self.scale, &self.coarse_error, &self.error, &self.norm];
        let values = bounds.into_iter().flatten();
        values.map(|value| value.to_bits()).collect()
    }
}

fn make(kernels: &Kernels, matrix: &MatrixRef<'_>, rows: usize, cols: usize) -> Made {
    let mut made = Made {
        coarse: vec![[CodeLine([0; RUN]); _]; rows * blocks(cols)],
        fine: vec![[CodeLine([0; RUN]); _]; rows * blocks(cols)],
        scale: vec![f32::NAN; rows],
        coarse_error: vec![f32::NAN; rows],
        error: vec![f32::NAN; rows],
        norm: vec![f32::NAN; rows],
    };
    let out = RowsMut {
        coarse: &mut made.coarse,
        fine: &mut made.fine,
        bounds: Bounds {
            scale: &mut made.scale,
            coarse_error: &mut made.coarse_error,
            error: &mut made.error,
            norm: &mut made.norm,
        },
    };
    (kernels.screen_encode)(matrix, 0..rows, cols, out);
    made
}

/// Bounds of each row, `[tokens, rows]`: from the high bits of its codes, from all bits, and from
/// all bits with both bytes of activations.
fn uppers(kernels: &Kernels, made: &Made, queries: &[Query], list: &[u32]) -> [Vec<f32>; 3] {
    let rows = made.norm.len();
    let mut coarse = vec![f32::NAN; queries.len() * rows];
    (kernels.screen_uppers)(made.rows(), queries, &mut coarse);
    let [refined, closer] = [Precision::Enough, Precision::Full].map(|how| {
        let mut uppers = vec![f32::NAN; queries.len() * list.len()];
        (kernels.screen_refine)(made.rows(), list, queries, how, &mut uppers);
        uppers
    });
    [coarse, refined, closer]
}

#[test]
fn kernels_agree_to_the_bit_and_no_logit_is_above_its_bound() {
    let scalar = Isa::Scalar.kernels().expect("plain Rust");
    let bits = |x: &[f32]| -> Vec<u32> { x.iter().map(|x| x.to_bits()).collect() };
    for (rows, cols) in [
        (1, 1),
        (3, 17),
        (4, 255),
        (16, 256),
        (17, 257),
        (33, 700),
        (5, 2560),
    ] {
        let head: Vec<f32> = (0..rows as u64)
            .flat_map(|r| Noise::new(r).normals(cols))
            .collect();
        let bytes: Vec<u8> = head
            .iter()
            .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
            .collect();
        let matrix = MatrixRef {
            format: Format::F16,
            bytes: &bytes,
            stride: cols * 2,
            scale: 1.0,
        };
        // Some rows, and again some in another order.
        let list: Vec<u32> = (0..rows as u32)
            .filter(|row| row % 3 != 1)
            .chain((0..rows as u32).rev().filter(|row| row % 5 == 0))
            .collect();
        for tokens in 1..12 {
            let mut x: Vec<Vec<f32>> = (0..tokens as u64)
                .map(|t| Noise::new(1000 + t).normals(cols))
                .collect();
            // An activation far beyond the others, for which one byte is not enough.
            x[tokens / 2][cols / 3] *= 1000.0;
            let queries: Vec<Query> = x
                .iter()
                .map(|x| {
                    let mut query = Query::new(cols);
                    query.set(x, tokens > 1);
                    query
                })
                .collect();
            let wanted = make(scalar, &matrix, rows, cols);
            let [wanted_uppers, wanted_refined, wanted_closer] =
                uppers(scalar, &wanted, &queries, &list);
            for (token, x) in x.iter().enumerate() {
                let norm: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
                let judge = |row: usize, upper: f32, error: f32, how: Precision| {
                    let weights = bytes[row * cols * 2..(row + 1) * cols * 2]
                        .as_chunks::<2>()
                        .0;
                    let exact: f64 = weights
                        .iter()
                        .zip(x)
                        .map(|(w, x)| half::f16::from_le_bytes(*w).to_f64() * f64::from(*x))
                        .sum();
                    // Activations of one byte add a standard deviation at most.
                    let weight = match how {
                        Precision::Enough => f64::from(wanted.norm[row]) / (cols as f64).sqrt(),
                        Precision::Full => 0.0,
                    };
                    let margin = (f64::from(error) * 1.01 + weight * 1.1) * norm + 1e-3;
                    let above = f64::from(upper) - exact;
                    assert!(
                        (0.0..=2.0 * margin).contains(&above),
                        "{rows}x{cols}, row {row}, token {token}: {upper} is {above} above {exact}"
                    );
                };
                for row in 0..rows {
                    let upper = wanted_uppers[token * rows + row];
                    judge(row, upper, wanted.coarse_error[row], Precision::Enough);
                }
                for (i, row) in list.iter().enumerate() {
                    let at = token * list.len() + i;
                    let error = wanted.error[*row as usize];
                    judge(*row as usize, wanted_refined[at], error, Precision::Enough);
                    judge(*row as usize, wanted_closer[at], error, Precision::Full);
                }
            }
            for kernels in Isa::available().into_iter().filter_map(Isa::kernels) {
                let made = make(kernels, &matrix, rows, cols);
                let what = format!("{} of {rows}x{cols} and {tokens} tokens", kernels.name);
                assert!(
                    made.coarse == wanted.coarse && made.fine == wanted.fine,
                    "{what}"
                );
                assert_eq!(made.bounds(), wanted.bounds(), "{what}");
                let [found, refined, closer] = uppers(kernels, &made, &queries, &list);
                assert_eq!(bits(&found), bits(&wanted_uppers), "{what}");
                assert_eq!(bits(&refined), bits(&wanted_refined), "{what}");
                assert_eq!(bits(&closer), bits(&wanted_closer), "{what}");
            }
        }
    }
}
