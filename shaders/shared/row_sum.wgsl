// Sums over the ${LANES} neighbouring threads that share a row. The order is fixed by the device
// alone.
#if SUBGROUPS
fn row_sum_${TYPE}(value: ${TYPE}, thread: u32) -> ${TYPE} {
    return subgroupAdd(value);
}
#else
var<workgroup> row_parts: array<${TYPE}, ${THREADS}>;

fn row_sum_${TYPE}(value: ${TYPE}, thread: u32) -> ${TYPE} {
    workgroupBarrier();
    row_parts[thread] = value;
    for (var half = ${LANES}u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread % ${LANES}u < half) {
            row_parts[thread] += row_parts[thread + half];
        }
    }
    workgroupBarrier();
    return row_parts[thread - thread % ${LANES}u];
}
#endif
