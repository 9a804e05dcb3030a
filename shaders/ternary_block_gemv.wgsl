// Ternary weights with a scale per 256 against i8 activations with a scale per 256. Integer sums of
// blocks are gathered first; then one thread adds the blocks in order, so that gemv and gemm give
// the same bits. ${LANES} threads share a row.
#include shared/gemv.wgsl
#include shared/dot.wgsl
@group(0) @binding(3) var<storage, read> codes: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;

// Eight partial sums per block: rows of up to ${MAX_COLS} weights.
var<workgroup> partial: array<i32, ${PARTIALS}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let token = extent.first_row + group.y;
#if PROLOGUE
    prepare_x(token, thread);
#endif
#if EXPERTS
    let x_row = token / SHARING;
#else
    let x_row = token;
#endif
    let words = COLS / 32u;
    for (var r = 0u; r < ${EACH}u; r += 1u) {
        // What was gathered of the rows before is read.
        workgroupBarrier();
        let row = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        for (var i = lane; i < words; i += ${LANES}u) {
            let word = codes[row * words + i];
            partial[slot * words + i] =
                dot16(unpack_codes(word.x), x_vector(x_row, i * 2u)) + dot16(unpack_codes(word.y), x_vector(x_row, i * 2u + 1u));
        }
        workgroupBarrier();
        if (lane == 0u) {
            var value = 0.0;
            let blocks = COLS / 256u;
            for (var block = 0u; block < blocks; block += 1u) {
                var sum = 0;
                for (var i = 0u; i < 8u; i += 1u) {
                    sum += partial[slot * words + block * 8u + i];
                }
                let encoding = x_block_scale(x_row, block);
                let scale = scales[row * blocks + block] * bitcast<f32>(encoding.x);
                value = fma(scale, f32(sum - bitcast<i32>(encoding.y)), value);
            }
            row_values[r * SLOTS + slot] = value;
        }
    }
#include shared/finish_gemv.wgsl
}
