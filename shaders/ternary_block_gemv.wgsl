// Ternary weights with a scale per 256 against i8 activations with a scale per 256. Integer sums of
// blocks are gathered first; then one thread adds the blocks in order, so that gemv and gemm give
// the same bits.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/dot.wgsl
#include shared/store.wgsl
@group(0) @binding(3) var<storage, read> codes: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
// Scale and sum of each block of each token.
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;
override COLS: u32;

const ROWS: u32 = 4u;
const LANES: u32 = 32u;
// Eight partial sums per block: rows of up to ${MAX_COLS} weights.
var<workgroup> partial: array<i32, ${PARTIALS}>;
#if GATED
var<workgroup> row_values: array<f32, ROWS>;
#endif

@compute @workgroup_size(128)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % LANES;
    let slot = thread / LANES;
    let token = group.y;
#if EXPERTS
    let row = expert_row(token, group.x * ROWS + slot);
    let x_row = token / SHARING;
#else
    let row = group.x * ROWS + slot;
    let x_row = token;
#endif
    let words = COLS / 32u;
    let weight_row = min(row, piece.rows - 1u);
    let values = x_row * words;
    for (var i = lane; i < words; i += LANES) {
        let word = codes[weight_row * words + i];
        partial[slot * words + i] =
            dot16(unpack_codes(word.x), x[(values + i) * 2u]) + dot16(unpack_codes(word.y), x[(values + i) * 2u + 1u]);
    }
    workgroupBarrier();
    var value = 0.0;
    if (lane == 0u) {
        let blocks = COLS / 256u;
        for (var block = 0u; block < blocks; block += 1u) {
            var sum = 0;
            for (var i = 0u; i < 8u; i += 1u) {
                sum += partial[slot * words + block * 8u + i];
            }
            let encoding = x_scales[x_row * blocks + block];
            let scale = scales[weight_row * blocks + block] * bitcast<f32>(encoding.x);
            value = fma(scale, f32(sum - bitcast<i32>(encoding.y)), value);
        }
    }
#include shared/finish_gemv.wgsl
}
