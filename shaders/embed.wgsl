// Rows of the embedding, ${FORMAT}, decoded to f32. A thread decodes four values.
#include shared/extent.wgsl
#include shared/piece.wgsl
#if HALF
#include shared/float.wgsl
#endif
#if SUB_SCALED_BYTES
#include shared/q6_k.wgsl
#endif
#if BYTES_WITH_MINIMA
#include shared/minima.wgsl
#endif
@group(0) @binding(2) var<storage, read_write> results: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weights: array<u32>;
#include shared/inputs.wgsl
#if BYTES
@group(0) @binding(6) var<storage, read> scales: array<f32>;
#endif
#if CODES
@group(0) @binding(6) var<storage, read> scales: array<f32>;
#endif
override COLS: u32;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    let token = id.y;
    let id_row = inputs[extent.inputs + token];
    // Another piece has the row.
    if (i >= COLS / 4u || id_row < piece.first_row || id_row - piece.first_row >= piece.rows) {
        return;
    }
    let row = id_row - piece.first_row;
    let first = row * (COLS / 4u);
#if HALF
    let value = vec4<f32>(decode_pair(weights[(first + i) * 2u]), decode_pair(weights[(first + i) * 2u + 1u]));
#endif
#if F32
    let at = (first + i) * 4u;
    let value = bitcast<vec4<f32>>(vec4<u32>(weights[at], weights[at + 1u], weights[at + 2u], weights[at + 3u]));
#endif
#if BYTES
    let value = vec4<f32>(unpack4xI8(weights[first + i])) * scales[(first + i) / 8u];
#endif
#if CODES
    // Vector i of the row is part i % 4 of its word.
    let codes = weights[(first + i) / 4u] >> (6u - 2u * (i % 4u)) & 0x03030303u;
    let value = (vec4<f32>(unpack4xU8(codes)) - 1.0) * scales[(first + i) / (4u * ${BLOCK_WORDS}u)];
#endif
#if BYTES_WITH_MINIMA
    // Word i of the row, in the order of the activations.
    let group = i / 32u;
    let part = i % 32u / 8u;
    let m = i % 8u;
    let block = (first + i) / 64u;
    let vector = group % 2u * 8u + m;
    let scale = bitcast<f32>(scales[block * 6u]) * f32(sub_scales(block, vector)[part]);
    let minimum = bitcast<f32>(scales[block * 6u + 1u]) * f32(minima(block, vector)[part]);
    let value = vec4<f32>(unpack4xU8(weights[first + group * 32u + m * 4u + part])) * scale - minimum;
#endif
#if SUB_SCALED_BYTES
    // Word i of the row, in the order of the activations.
    let group = i / 32u;
    let part = i % 32u / 8u;
    let m = i % 8u;
    let block = (first + i) / 64u;
    let scale = bitcast<f32>(scales[block * 5u]) * f32(sub_scale(block, group % 2u * 8u + m, part));
    let value = vec4<f32>(unpack4xI8(weights[first + group * 32u + m * 4u + part])) * scale;
#endif
    results[token * (COLS / 4u) + i] = value * piece.factors.x;
}
