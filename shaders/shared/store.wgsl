@group(0) @binding(2) var<storage, read_write> results: array<f32>;
// Values in a row of the output.
override WIDTH: u32;

#if GATED
#include shared/activate.wgsl

// Rows of gate and factor alternate; one pair gives one output.
fn store_pair(token: u32, row: u32, gate: f32, up: f32) {
    results[token * WIDTH + (piece.first_row + row) / 2u] =
        activate(finite_or_nan(gate * piece.factors.x)) * finite_or_nan(up * piece.factors.y);
}
#else
fn store(token: u32, row: u32, value: f32) {
    let at = token * WIDTH + piece.first_row + row;
#if ACCUMULATE
    results[at] += finite_or_nan(value * piece.factors.x);
#else
    results[at] = finite_or_nan(value * piece.factors.x);
#endif
}
#endif
