// The experts of a token, the likeliest first, and their shares: the softmax over those that are
// taken. A workgroup has a token, a thread up to ${EXPERTS_PER_THREAD} experts.
#include shared/exact.wgsl
#include shared/candidate.wgsl
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> chosen: array<f32>;
@group(0) @binding(4) var<storage, read_write> shares: array<f32>;
override EXPERTS: u32;
override USED: u32;

const PER_THREAD: u32 = ${EXPERTS_PER_THREAD}u;
// Whether any logit is no number.
var<workgroup> broken: atomic<u32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let row = group.x * EXPERTS;
    // Memory of a workgroup begins with anything.
    if (thread == 0u) {
        atomicStore(&broken, 0u);
    }
    workgroupBarrier();
    var own: array<vec2<u32>, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i += 1u) {
        let expert = i * 256u + thread;
        own[i] = vec2<u32>();
        if (expert < EXPERTS) {
            let logit = logits[row + expert];
            own[i] = candidate(logit, expert);
            if ((bitcast<u32>(logit) & 0x7fffffffu) > 0x7f800000u) {
                atomicOr(&broken, 1u);
            }
        }
    }
    let at = group.x * USED;
    for (var rank = 0u; rank < USED; rank += 1u) {
        var best = own[0];
        for (var i = 1u; i < PER_THREAD; i += 1u) {
            if (better(own[i], best)) {
                best = own[i];
            }
        }
        best = workgroup_best(best, thread);
        if (thread == 0u) {
            chosen[at + rank] = f32(~best.y);
        }
        for (var i = 0u; i < PER_THREAD; i += 1u) {
            if (all(own[i] == best)) {
                own[i] = vec2<u32>();
            }
        }
    }
    if (thread > 0u) {
        return;
    }
    let largest = logits[row + u32(chosen[at])];
    let sound = atomicLoad(&broken) == 0u && (bitcast<u32>(largest) & 0x7f800000u) != 0x7f800000u;
    var sum = 0.0;
    for (var rank = 0u; rank < USED; rank += 1u) {
        let share = exp_f32(logits[row + u32(chosen[at + rank])] - largest);
        shares[at + rank] = share;
        sum += share;
    }
    for (var rank = 0u; rank < USED; rank += 1u) {
        let share = divide(shares[at + rank], sum);
        shares[at + rank] = bitcast<f32>(select(0x7fc00000u, bitcast<u32>(share), sound));
    }
}
