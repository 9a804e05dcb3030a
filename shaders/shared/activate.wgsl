fn activate(x: f32) -> f32 {
#if SILU
    return x / (1.0 + exp_f32(-x));
#endif
#if SIGMOID
    return 1.0 / (1.0 + exp_f32(-x));
#endif
#if RELU2
    let positive = select(max(x, 0.0), x, is_nan(x));
    return positive * positive;
#endif
}
