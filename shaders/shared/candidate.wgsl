// The order of candidates: first what is not finite, then the larger logit and, of equal logits,
// the lower id; -0 and 0 are equal. `kernels/src/candidate.rs` is this order in Rust. As a pair of
// words of which the larger, compared from the first on, is the better.
fn candidate(logit: f32, id: u32) -> vec2<u32> {
    var bits = bitcast<u32>(logit);
    if ((bits & 0x7fffffffu) == 0u) {
        bits = 0u;
    }
    var key = select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
        // Above the key of every number.
        key = 0xfffffffeu;
    }
    return vec2<u32>(key, ~id);
}

fn better(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y > b.y);
}

var<workgroup> candidates: array<vec2<u32>, 256>;

// The best of a workgroup's candidates.
fn workgroup_best(value: vec2<u32>, thread: u32) -> vec2<u32> {
    workgroupBarrier();
    candidates[thread] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half && better(candidates[thread + half], candidates[thread])) {
            candidates[thread] = candidates[thread + half];
        }
    }
    workgroupBarrier();
    return candidates[0];
}
