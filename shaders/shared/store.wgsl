@group(0) @binding(2) var<storage, read_write> results: array<f32>;
// Values in a row of the output.
override WIDTH: u32;
#if EXPERTS
#include shared/expert.wgsl
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
#if CLAMPED
    results[at] = activate(at_most(finite_or_nan(gate * piece.factors.x))) *
        within(finite_or_nan(up * piece.factors.y));
#else
    results[at] = activate(finite_or_nan(gate * piece.factors.x)) * finite_or_nan(up * piece.factors.y);
#endif
#else
    results[token * WIDTH + (piece.first_row + row) / 2u] =
        activate(finite_or_nan(gate * piece.factors.x)) * finite_or_nan(up * piece.factors.y);
#endif
}
#else
fn store(token: u32, row: u32, value: f32) {
#if EXPERTS
    let at = token * WIDTH + expert_column(token, row);
#else
    let at = token * WIDTH + piece.first_row + row;
#endif
#if ACCUMULATE
    results[at] += finite_or_nan(value * piece.factors.x);
#else
    results[at] = finite_or_nan(value * piece.factors.x);
#endif
}
#endif
