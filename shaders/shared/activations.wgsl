// The row of activations that a product meets: ${ENCODING}, as an earlier dispatch left it, or made
// by each workgroup for itself.
override COLS: u32;
#if PROLOGUE
#if FLOAT_ROWS
var<workgroup> row_of_x: array<vec4<f32>, ${VECTORS} * ${THREADS}>;

fn put(row: u32, i: u32, value: vec4<f32>) {
    row_of_x[i] = value;
}

fn x_vector(row: u32, i: u32) -> vec4<f32> {
    return row_of_x[i];
}
#else
// Words a, a + 4, ... are neighbours, so that neighbouring threads read neighbouring words.
const VECTORS_OF_X: u32 = ${VECTORS}u * ${THREADS}u / 4u;
var<workgroup> row_of_x: array<u32, 4u * VECTORS_OF_X>;

fn put(row: u32, i: u32, word: u32) {
    row_of_x[i % 4u * VECTORS_OF_X + i / 4u] = word;
}

fn x_word(row: u32, i: u32) -> u32 {
    return row_of_x[i % 4u * VECTORS_OF_X + i / 4u];
}

fn x_vector(row: u32, i: u32) -> vec4<u32> {
    return vec4<u32>(row_of_x[i], row_of_x[VECTORS_OF_X + i], row_of_x[2u * VECTORS_OF_X + i], row_of_x[3u * VECTORS_OF_X + i]);
}
#endif
#if I8
var<workgroup> scale_of_x: vec2<u32>;

fn put_scale(row: u32, scale: vec2<u32>) {
    scale_of_x = scale;
}

fn x_scale(row: u32) -> vec2<u32> {
    return scale_of_x;
}
#endif
#if BLOCKS
var<workgroup> scales_of_x: array<${SCALE_TYPE}, ${VECTORS} * ${THREADS} / ${BLOCK_THREADS}>;

fn put_scale(at: u32, scale: ${SCALE_TYPE}) {
    scales_of_x[at % (COLS / (4u * ${BLOCK_THREADS}u))] = scale;
}

fn x_block_scale(row: u32, block: u32) -> ${SCALE_TYPE} {
    return scales_of_x[block];
}
#endif
#include shared/encode_row.wgsl

// Makes the row ready, for all threads of the workgroup.
fn prepare_x(row: u32, thread: u32) {
    encode_row(row, thread);
    workgroupBarrier();
}
#else
#if FLOAT_ROWS
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;

fn x_vector(row: u32, i: u32) -> vec4<f32> {
    return x[row * (COLS / 4u) + i];
}
#else
#if WORDS_OF_X
@group(0) @binding(4) var<storage, read> x: array<u32>;

fn x_word(row: u32, i: u32) -> u32 {
    return x[row * (COLS / 4u) + i];
}
#else
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;

fn x_vector(row: u32, i: u32) -> vec4<u32> {
    return x[row * (COLS / 16u) + i];
}
#endif
#endif
#if I8
// Scale and sum of each row's values.
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;

fn x_scale(row: u32) -> vec2<u32> {
    return x_scales[row];
}
#endif
#if BLOCKS
// The scales of blocks, with the sums of their values where ternary weights need them.
@group(0) @binding(5) var<storage, read> x_scales: array<${SCALE_TYPE}>;

fn x_block_scale(row: u32, block: u32) -> ${SCALE_TYPE} {
    return x_scales[row * (COLS / (4u * ${BLOCK_THREADS}u)) + block];
}
#endif
#endif
