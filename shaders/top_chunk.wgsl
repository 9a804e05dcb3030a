// The best few of each chunk of 1024 logits, best first.
#include shared/extent.wgsl
#include shared/candidate.wgsl
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
