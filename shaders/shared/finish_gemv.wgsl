#if GATED
    if (lane == 0u) {
        row_values[slot] = value;
    }
    workgroupBarrier();
    if (lane == 0u && slot % 2u == 0u && row < piece.rows) {
        store_pair(token, row, value, row_values[slot + 1u]);
    }
#else
    if (lane == 0u && row < piece.rows) {
        store(token, row, value);
    }
#endif
