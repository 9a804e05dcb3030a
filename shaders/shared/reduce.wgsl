// Reductions over a workgroup of ${THREADS} threads; every thread gets the result.
#if SUBGROUPS
const PARTS: u32 = ${THREADS}u / ${SUBGROUP}u;
// Two of each, in turn: who is ahead by one reduction writes where nobody reads any more.
var<workgroup> parts: array<f32, 2u * PARTS>;
var<private> turn: u32 = 0u;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    let part = subgroupAdd(value);
    let lane = thread % ${SUBGROUP}u;
    turn = PARTS - turn;
    if (lane == 0u) {
        parts[turn + thread / ${SUBGROUP}u] = part;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = lane; i < PARTS; i += ${SUBGROUP}u) {
        total += parts[turn + i];
    }
    return subgroupAdd(total);
}

fn workgroup_max(value: f32, thread: u32) -> f32 {
    let part = subgroupMax(value);
    let lane = thread % ${SUBGROUP}u;
    turn = PARTS - turn;
    if (lane == 0u) {
        parts[turn + thread / ${SUBGROUP}u] = part;
    }
    workgroupBarrier();
    var largest = parts[turn];
    for (var i = lane; i < PARTS; i += ${SUBGROUP}u) {
        largest = max(largest, parts[turn + i]);
    }
    return subgroupMax(largest);
}
#else
var<workgroup> parts: array<f32, ${THREADS}>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = ${THREADS}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] += parts[thread + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}

fn workgroup_max(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = ${THREADS}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] = max(parts[thread], parts[thread + half]);
        }
    }
    workgroupBarrier();
    return parts[0];
}
#endif
