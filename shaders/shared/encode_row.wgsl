// A row of f32, ${NORMED} RMS norm, stored as ${ENCODING} by the threads of a workgroup, which keep
// its values in registers: vectors thread, thread + ${THREADS}, ... of four. The order of its sums
// is the same wherever the row is stored.
#include shared/reduce.wgsl
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
#if NORM
@group(0) @binding(5) var<storage, read> gain: array<vec4<f32>>;
override EPS: f32;
#endif
#if SELECTED
#include shared/inputs.wgsl
#endif

#if BLOCKS
var<workgroup> largest: array<f32, ${THREADS}>;
var<workgroup> sums: array<atomic<i32>, ${THREADS}>;

// The value of largest magnitude in the ${BLOCK_THREADS} threads of a block, the first among
// equals.
fn block_extreme(value: vec4<f32>, thread: u32) -> f32 {
    var best = value.x;
    for (var i = 1u; i < 4u; i += 1u) {
        if (magnitude(value[i]) > magnitude(best)) {
            best = value[i];
        }
    }
    workgroupBarrier();
    largest[thread] = best;
    for (var step = 1u; step < ${BLOCK_THREADS}u; step *= 2u) {
        workgroupBarrier();
        if (thread % (2u * step) == 0u && magnitude(largest[thread + step]) > magnitude(largest[thread])) {
            largest[thread] = largest[thread + step];
        }
    }
    workgroupBarrier();
    return largest[thread - thread % ${BLOCK_THREADS}u];
}
#endif

#if PERMUTED
// Where word i of a row lies: words 32 elements apart are neighbours, as the codes of a group of
// 128 are.
fn place(i: u32) -> u32 {
    return i / 32u * 32u + i % 8u * 4u + i % 32u / 8u;
}
#endif

fn encode_row(row: u32, thread: u32) {
#if SELECTED
    let from_row = inputs[extent.inputs + row];
#else
    let from_row = row;
#endif
    let words = COLS / 4u;
    var values: array<vec4<f32>, ${VECTORS}>;
#if NORM
    var gains: array<vec4<f32>, ${VECTORS}>;
    var squares = 0.0;
#endif
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        let i = thread + k * ${THREADS}u;
        values[k] = vec4<f32>();
        if (i < words) {
            values[k] = x[from_row * words + i];
#if NORM
            gains[k] = gain[i];
#endif
        }
#if NORM
        let v = values[k];
        squares = fma(v.w, v.w, fma(v.z, v.z, fma(v.y, v.y, fma(v.x, v.x, squares))));
#endif
    }
#if NORM
    let mean = finite_or_nan(divide(workgroup_sum(squares, thread), f32(COLS)));
    let scale = divide(1.0, sqrt(mean + EPS));
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        values[k] = values[k] * scale * gains[k];
    }
#endif
#if FLOAT_ROWS
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        let i = thread + k * ${THREADS}u;
        if (i < words) {
            put(row, i, values[k]);
        }
    }
#endif
#if I8
    var most = 0.0;
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        let v = values[k];
        most = max(most, max(max(magnitude(v.x), magnitude(v.y)), max(magnitude(v.z), magnitude(v.w))));
    }
    most = workgroup_max(most, thread);
    // 127 / 1e-5 where all values are smaller.
    let factor = select(divide(127.0, most), 12700000.0, most < 1.0e-5);
    var sum = 0;
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        let i = thread + k * ${THREADS}u;
        let q = vec4<i32>(clamp(round(values[k] * factor), vec4<f32>(-128.0), vec4<f32>(127.0)));
        sum += q.x + q.y + q.z + q.w;
        if (i < words) {
            put(row, place(i), pack4xI8(q));
        }
    }
    // Sums of up to 2^24 are exact in f32: 131072 values of 127.
    let total = i32(workgroup_sum(f32(sum), thread));
    if (thread == 0u) {
        // The scale of a row with a value that is not finite is NaN, whatever its integers are.
        let bits = select(bitcast<u32>(factor), NAN_BITS, most == LARGEST);
        put_scale(row, vec2<u32>(bits, bitcast<u32>(total)));
    }
#endif
#if BLOCKS
    let blocks = COLS / (${BLOCK_THREADS}u * 4u);
    for (var k = 0u; k < ${VECTORS}u; k += 1u) {
        let i = thread + k * ${THREADS}u;
        let extreme = block_extreme(values[k], thread);
        let leader = thread % ${BLOCK_THREADS}u == 0u;
#if Q8_0_ROWS
        var d = divide(abs(extreme), 127.0);
        var inverse = divide(127.0, abs(extreme));
        if (d == 0.0 || !is_finite(inverse)) {
            d = 0.0;
            inverse = 0.0;
        }
        let q = vec4<i32>(clamp(round(values[k] * inverse), vec4<f32>(-128.0), vec4<f32>(127.0)));
        if (i < words) {
            put(row, i, pack4xI8(q));
            if (leader) {
                let bits = select(bitcast<u32>(round_f16(d)), nan_bits, !is_finite(extreme));
                put_scale(row * blocks + i / ${BLOCK_THREADS}u, bitcast<f32>(bits));
            }
        }
#else
        var d = 0.0;
        var inverse = 0.0;
        if (extreme != 0.0) {
            inverse = divide(-127.0, extreme);
            d = divide(1.0, inverse);
        }
        if (!is_finite(inverse)) {
            d = 0.0;
            inverse = 0.0;
        }
        let bits = select(bitcast<u32>(d), NAN_BITS, !is_finite(extreme));
        let q = vec4<i32>(min(round(values[k] * inverse), vec4<f32>(127.0)));
        let head = thread - thread % ${BLOCK_THREADS}u;
        if (leader) {
            atomicStore(&sums[head], 0);
        }
        workgroupBarrier();
        atomicAdd(&sums[head], q.x + q.y + q.z + q.w);
        workgroupBarrier();
        if (i < words) {
            put(row, place(i), pack4xI8(q));
            if (leader) {
                put_scale(row * blocks + i / ${BLOCK_THREADS}u, vec2<u32>(bits, bitcast<u32>(atomicLoad(&sums[head]))));
            }
        }
#endif
    }
#endif
}
