    // The values of the rows are in `row_values`.
    workgroupBarrier();
    let first_row = group.x * ROWS;
#if GATED
    if (thread < ROWS / 2u) {
        let pair = piece_row(token, first_row + 2u * thread);
        if (pair < piece.rows) {
            store_pair(token, pair, row_values[2u * thread], row_values[2u * thread + 1u]);
        }
    }
#endif
#if ROTATED
    if (thread < ROWS / 4u && first_row + 4u * thread < piece.rows) {
        let n = first_row + 4u * thread;
        var four: vec4<f32>;
        for (var i = 0u; i < 4u; i += 1u) {
            four[i] = scaled(row_of(n + i), row_values[4u * thread + i]);
        }
        store_four(n / HEAD_DIM, n % HEAD_DIM / 4u, token, extent.start + group.y, four.xy, four.zw);
    }
#endif
#if ONE_BY_ONE
    if (thread < ROWS) {
        let own = piece_row(token, first_row + thread);
        if (own < piece.rows) {
            store(token, own, row_values[thread]);
        }
    }
#endif
