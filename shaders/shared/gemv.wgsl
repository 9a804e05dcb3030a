// What all products of few tokens have in common: the row of activations, the rows of a workgroup,
// of which ${LANES} threads share one and have ${EACH} each, and what becomes of them.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/activations.wgsl
#include shared/store.wgsl

// Rows that are computed side by side, and all of a workgroup's.
const SLOTS: u32 = ${THREADS}u / ${LANES}u;
const ROWS: u32 = SLOTS * ${EACH}u;
var<workgroup> row_values: array<f32, ROWS>;

// The row of the piece that result `n` is of, for a row of activations.
fn piece_row(token: u32, n: u32) -> u32 {
#if EXPERTS
    return expert_row(token, n);
#else
#if ROTATED
    return row_of(n);
#else
    return n;
#endif
#endif
}
