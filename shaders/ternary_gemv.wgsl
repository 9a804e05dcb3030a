// Ternary weights with one scale against i8 activations with one scale per token. ${LANES} threads
// share a row.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/dot.wgsl
#include shared/store.wgsl
#include shared/row_sum.wgsl
@group(0) @binding(3) var<storage, read> codes: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
// Scale and sum of each token's values.
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
override COLS: u32;

const ROWS: u32 = ${THREADS}u / ${LANES}u;
#if GATED
var<workgroup> row_values: array<f32, ROWS>;
#endif

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let row = group.x * ROWS + slot;
    let token = group.y;
    let words = COLS / 32u;
    let weights = min(row, piece.rows - 1u) * words;
    let values = token * words;
    var sum = 0;
    // Four words at a time, so that their loads overlap. Codes past the end are 0 and add nothing.
    for (var i = lane; i < words; i += 4u * ${LANES}u) {
        var word: array<vec2<u32>, 4>;
        var low: array<vec4<u32>, 4>;
        var high: array<vec4<u32>, 4>;
        for (var j = 0u; j < 4u; j += 1u) {
            let at = min(i + j * ${LANES}u, words - 1u);
            word[j] = codes[weights + at];
            low[j] = x[(values + at) * 2u];
            high[j] = x[(values + at) * 2u + 1u];
        }
        for (var j = 0u; j < 4u; j += 1u) {
            let own = select(vec2<u32>(), word[j], i + j * ${LANES}u < words);
            sum += dot16(unpack_codes(own.x), low[j]) + dot16(unpack_codes(own.y), high[j]);
        }
    }
    let total = row_sum_i32(sum, thread);
    let encoding = x_scales[token];
    let scale = select(piece.scales.x, piece.scales.y, row % 2u == 1u);
    let value = divide(f32(total - bitcast<i32>(encoding.y)), bitcast<f32>(encoding.x)) * scale;
#include shared/finish_gemv.wgsl
}
