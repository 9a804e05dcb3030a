// The best few of all chunks: ids and logits, best first. A thread watches the heads of its chunks.
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
@group(0) @binding(3) var<storage, read> chunks: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> top: array<vec2<u32>>;
override VOCABULARY: u32;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let k = extent.spans;
    let count = (VOCABULARY + 1023u) / 1024u;
    let first = group.x * count * k;
    var limit = vec2<u32>(0xffffffffu);
    for (var rank = 0u; rank < k; rank += 1u) {
        // The best that comes after the last one taken.
        var best = vec2<u32>();
        for (var chunk = thread; chunk < count; chunk += 256u) {
            for (var i = 0u; i < k; i += 1u) {
                let entry = chunks[first + chunk * k + i];
                if (better(limit, entry)) {
                    if (better(entry, best)) {
                        best = entry;
                    }
                    break;
                }
            }
        }
        limit = workgroup_best(best, thread);
        if (thread == 0u) {
            let id = ~limit.y;
            top[group.x * k + rank] = vec2<u32>(id, bitcast<u32>(logits[group.x * VOCABULARY + min(id, VOCABULARY - 1u)]));
        }
    }
}
