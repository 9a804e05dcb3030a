// Ternary weights with one scale against i8 activations with one scale per token. ${LANES} threads
// share a row.
#include shared/gemv.wgsl
#include shared/dot.wgsl
#include shared/row_sum.wgsl
@group(0) @binding(3) var<storage, read> codes: array<vec2<u32>>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let token = extent.first_row + group.y;
    let words = COLS / 32u;
    var rows: array<u32, ${EACH}>;
    var sums: array<i32, ${EACH}>;
    // Four words of each row at a time, so that their loads overlap. The first are under way while
    // the activations are made. Codes past the end are 0 and add nothing.
    var word: array<vec2<u32>, 4u * ${EACH}u>;
    for (var r = 0u; r < ${EACH}u; r += 1u) {
        rows[r] = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        sums[r] = 0;
        for (var j = 0u; j < 4u; j += 1u) {
            word[4u * r + j] = codes[rows[r] * words + min(lane + j * ${LANES}u, words - 1u)];
        }
    }
#if PROLOGUE
    prepare_x(token, thread);
#endif
    for (var i = lane; i < words; i += 4u * ${LANES}u) {
        if (i > lane) {
            for (var j = 0u; j < 4u; j += 1u) {
                let at = min(i + j * ${LANES}u, words - 1u);
                for (var r = 0u; r < ${EACH}u; r += 1u) {
                    word[4u * r + j] = codes[rows[r] * words + at];
                }
            }
        }
        var low: array<vec4<u32>, 4>;
        var high: array<vec4<u32>, 4>;
        for (var j = 0u; j < 4u; j += 1u) {
            let at = min(i + j * ${LANES}u, words - 1u);
            low[j] = x_vector(token, at * 2u);
            high[j] = x_vector(token, at * 2u + 1u);
        }
        for (var j = 0u; j < 4u; j += 1u) {
            for (var r = 0u; r < ${EACH}u; r += 1u) {
                let own = select(vec2<u32>(), word[4u * r + j], i + j * ${LANES}u < words);
                sums[r] += dot16(unpack_codes(own.x), low[j]) + dot16(unpack_codes(own.y), high[j]);
            }
        }
    }
    let encoding = x_scale(token);
    for (var r = 0u; r < ${EACH}u; r += 1u) {
        let total = row_sum_i32(sums[r], thread);
        if (lane == 0u) {
            let scale = piece.scales[matrix_of(rows[r])];
            row_values[r * SLOTS + slot] = divide(f32(total - bitcast<i32>(encoding.y)), bitcast<f32>(encoding.x)) * scale;
        }
    }
#include shared/finish_gemv.wgsl
}
