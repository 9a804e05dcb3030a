// The best few of all chunks: ids and logits, best first. A thread watches the heads of its chunks.
#include shared/extent.wgsl
#include shared/candidate.wgsl
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
