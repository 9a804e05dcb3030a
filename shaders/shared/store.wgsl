@group(0) @binding(2) var<storage, read_write> results: array<f32>;
#if EXPERTS
#include shared/expert.wgsl
#endif

// What becomes of a product, by the factor of its matrix.
fn scaled(row: u32, value: f32) -> f32 {
    return finite_or_nan(value * piece.factors[matrix_of(row)]);
}

#if ROTATED
#include shared/rope_store.wgsl

// The row of the matrices that result `n` is of: those that one thread rotates and stores follow
// one another.
fn row_of(n: u32) -> u32 {
    let head = n / HEAD_DIM;
    if (head >= HEADS + KV_HEADS) {
        return n;
    }
    let element = elements(n % HEAD_DIM / 4u)[n % 4u / 2u] + n % 2u;
    return head * HEAD_DIM + element;
}
#else
// Values in a row of the output.
override WIDTH: u32;
#endif
#if GATED
#include shared/activate.wgsl

#if CLAMPED
// The bound of a gate, from above, and of its factor, on both sides.
override LIMIT: f32;

fn at_most(x: f32) -> f32 {
    return select(x, LIMIT, x > LIMIT);
}

fn within(x: f32) -> f32 {
    return select(at_most(x), -LIMIT, x < -LIMIT);
}
#endif

// Rows of gate and factor alternate; one pair gives one output.
fn store_pair(token: u32, row: u32, gate: f32, up: f32) {
#if EXPERTS
    let at = token * WIDTH + expert_column(token, row) / 2u;
#else
    let at = token * WIDTH + (piece.first_row + row) / 2u;
#endif
#if CLAMPED
    results[at] = activate(at_most(scaled(row, gate))) * within(scaled(row + 1u, up));
#else
    results[at] = activate(scaled(row, gate)) * scaled(row + 1u, up);
#endif
}
#endif
#if ONE_BY_ONE
#if STACKED
// The outputs of the matrices behind the first.
@group(0) @binding(9) var<storage, read_write> second: array<f32>;
#if THREE
@group(0) @binding(10) var<storage, read_write> third: array<f32>;
#endif
#if FOUR
@group(0) @binding(11) var<storage, read_write> fourth: array<f32>;
#endif

fn store(token: u32, row: u32, value: f32) {
    let at = piece.first_row + row;
    let result = scaled(row, value);
    switch matrix_of(row) {
        case 0u: {
            results[token * SECOND + at] = result;
        }
        case 1u: {
            second[token * (THIRD - SECOND) + at - SECOND] = result;
        }
#if THREE
        case 2u: {
            third[token * (FOURTH - THIRD) + at - THIRD] = result;
        }
#endif
#if FOUR
        case 3u: {
            fourth[token * (WIDTH - FOURTH) + at - FOURTH] = result;
        }
#endif
        default: {}
    }
}
#else
fn store(token: u32, row: u32, value: f32) {
#if EXPERTS
    let at = token * WIDTH + expert_column(token, row);
#else
    let at = token * WIDTH + piece.first_row + row;
#endif
#if ACCUMULATE
    results[at] += scaled(row, value);
#else
    results[at] = scaled(row, value);
#endif
}
#endif
#endif
