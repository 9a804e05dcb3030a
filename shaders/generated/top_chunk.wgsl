// The best few of each chunk of 1024 logits, best first.
// What one dispatch of a pass covers. Rewritten before each pass.
struct Extent {
    // Rows of activations: tokens, or selected tokens.
    rows: u32,
    // The first row of a segment in the batch.
    first_row: u32,
    // The position of that row in its sequence.
    start: u32,
    // Spans of keys that the longest row of the dispatch sees; where the best logits are searched,
    // how many are wanted.
    spans: u32,
    // Where the ids of the tokens begin among the inputs, or the selected rows.
    inputs: u32,
}
@group(0) @binding(0) var<uniform> extent: Extent;
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
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> chunks: array<vec2<u32>>;
override VOCABULARY: u32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>,
        @builtin(num_workgroups) groups: vec3<u32>) {
    let k = extent.spans;
    var own: array<vec2<u32>, 4>;
    for (var i = 0u; i < 4u; i += 1u) {
        let id = group.x * 1024u + i * 256u + thread;
        own[i] = vec2<u32>();
        if (id < VOCABULARY) {
            own[i] = candidate(logits[group.y * VOCABULARY + id], id);
        }
    }
    let at = (group.y * groups.x + group.x) * k;
    for (var rank = 0u; rank < k; rank += 1u) {
        var best = own[0];
        for (var i = 1u; i < 4u; i += 1u) {
            if (better(own[i], best)) {
                best = own[i];
            }
        }
        best = workgroup_best(best, thread);
        if (thread == 0u) {
            chunks[at + rank] = best;
        }
        for (var i = 0u; i < 4u; i += 1u) {
            if (all(own[i] == best)) {
                own[i] = vec2<u32>();
            }
        }
    }
}
