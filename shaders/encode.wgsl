// Rows of f32, ${NORMED} RMS norm, stored as ${ENCODING}. One workgroup has one row.
#include shared/extent.wgsl
#include shared/exact.wgsl
override COLS: u32;
#if FLOAT_ROWS
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;

fn put(row: u32, i: u32, value: vec4<f32>) {
    results[row * (COLS / 4u) + i] = value;
}
#else
@group(0) @binding(2) var<storage, read_write> results: array<u32>;
// With the sum of the values where ternary weights need it.
@group(0) @binding(3) var<storage, read_write> scales: array<${SCALE_TYPE}>;

fn put(row: u32, i: u32, word: u32) {
    results[row * (COLS / 4u) + i] = word;
}

fn put_scale(at: u32, scale: ${SCALE_TYPE}) {
    scales[at] = scale;
}
#endif
#include shared/encode_row.wgsl

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    encode_row(group.x, thread);
}
