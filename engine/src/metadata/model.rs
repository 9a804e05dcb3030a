//! The table of keys under a model's prefix.
//!
//! A row says what a key means in a model whose graph does not read it. What graphs read is not
//! decided here: each takes what it needs ([`crate::config`]), and is asked first. Names and
//! meanings are llama.cpp's (`LLM_KV_NAMES` in its `llama-arch.cpp`); the values that change
//! nothing are those that its converters and `llama_model_saver` write where a model has no such
//! part.

use bitnet_gguf::keys::{FACTOR, KeyRule, Neutral, ONE, ZERO};

const NOTHING: Neutral = Neutral::Nothing;
/// A factor of zero is none, here as in llama.cpp.
const fn factor(name: &'static str, words: &'static str) -> KeyRule {
    KeyRule::refused(name, FACTOR, words)
}

/// A part of a model that is there unless the value is zero.
const fn part(name: &'static str, words: &'static str) -> KeyRule {
    KeyRule::refused(name, ZERO, words)
}

/// A part of a mixture of experts.
const fn experts(name: &'static str, unless: Neutral, words: &'static str) -> KeyRule {
    KeyRule::refused(name, unless, words).under("expert_count")
}

/// Something that layers with a window have of their own.
const fn windowed(name: &'static str, unless: Neutral, words: &'static str) -> KeyRule {
    KeyRule::refused(name, unless, words).under("attention.sliding_window")
}

const fn no_effect(name: &'static str, why: &'static str) -> KeyRule {
    KeyRule::no_effect(name, why)
}

const VISION: &str = "a vision part is";
const RECURRENT: &str = "recurrent layers are";
const LATENT: &str = "latent attention is";
const INDEXER: &str = "attention to indexed tokens is";
const HYPER: &str = "hyper-connections are";
const PER_LAYER: &str = "embeddings per layer are";
const ADAPTERS: &str = "adapters within a model are";
const LOOPS: &str = "running layers more than once is";
const DRAFT: &str = "a draft model is";
const DECODER: &str = "a decoder behind an encoder is";
const DECISION: &str = "a decision head is";
const SPEECH: &str = "a decoder of speech is";
const DENSE: &str = "layers behind an embedding model are";
const YARN: &str = "llama.cpp takes its own value for every architecture here";
const LONG: &str = "positions are not scaled in a way that asks for it";

/// A row for each key.
pub(super) static RULES: &[KeyRule] = &[
    // What a model is.
    KeyRule::refused(
        "embedding_length_out",
        SAME_AS_EMBEDDING,
        "an output of another width is",
    ),
    part("embedding_length_per_layer_input", PER_LAYER),
    part("features_length", SPEECH),
    part(
        "leading_dense_block_count",
        "a mix of dense layers and experts is",
    )
    .under("expert_count"),
    part(
        "attn_res.block_size",
        "residuals of attention between layers are",
    ),
    KeyRule::refused("activation.situ_beta", NOTHING, "the activation `situ` is"),
    KeyRule::refused(
        "activation.situ_linear_beta",
        NOTHING,
        "the activation `situ` is",
    ),
    KeyRule::refused(
        "use_parallel_residual",
        ZERO,
        "attention beside the gate is",
    ),
    no_effect(
        "tensor_data_layout",
        "tensors have the layout of the architecture",
    ),
    part(
        "nextn_predict_layers",
        "blocks that predict more than one token (MTP) are",
    ),
    part("n_deepstack_layers", VISION),
    KeyRule::refused("deepstack_mapping", Neutral::Numbers(&[-1.0]), VISION),
    KeyRule::doubtful(
        "pooling_type",
        Neutral::Numbers(&[0.0, -1.0, u32::MAX as f64]),
        "this is a model for embeddings or ranking; what it generates means nothing",
    ),
    factor("logit_scale", "a scale of the logits is"),
    factor("residual_scale", "a scale of what layers add is"),
    factor("embedding_scale", "a scale of the embedding is"),
    part(
        "attn_logit_softcapping",
        "a cap on the scores of attention is",
    ),
    part(
        "router_logit_softcapping",
        "a cap on the router's values is",
    )
    .under("expert_count"),
    part("final_logit_softcapping", "a cap on the logits is"),
    part("decoder_start_token_id", DECODER).under("decoder_block_count"),
    part("decoder_block_count", DECODER),
    part("swin_norm", "norms behind attention and gate are"),
    part("rescale_every_n_layers", RECURRENT),
    part("time_mix_extra_dim", RECURRENT),
    part("time_decay_extra_dim", RECURRENT),
    part("token_shift_count", RECURRENT).under("wkv.head_size"),
    part("adapters.count", ADAPTERS),
    KeyRule::refused("adapters.token_ids_activate", NOTHING, ADAPTERS).under("adapters.count"),
    KeyRule::refused("adapters.token_ids_substitute", NOTHING, ADAPTERS).under("adapters.count"),
    part("adapters.lora_rank", ADAPTERS).under("adapters.count"),
    part("adapters.router_gain", ADAPTERS).under("adapters.count"),
    part(
        "interleave_moe_layer_step",
        "a mix of dense layers and experts is",
    )
    .under("expert_count"),
    KeyRule::refused("full_attention_interval", FACTOR, RECURRENT),
    KeyRule::refused("num_loops", FACTOR, LOOPS),
    part("skip_loop_final_norm", LOOPS).under("num_loops"),
    part("hrm.layers_per_stack", LOOPS),
    part("hrm.h_cycles", LOOPS),
    part("hrm.l_cycles", LOOPS),
    part("hrm.prefix_lm", "attention to later tokens is"),
    part("hash_layer_count", "routing by hashes is"),
    // Experts.
    no_effect("feed_forward_length", "experts have a width of their own"),
    part("expert_count", "mixtures of experts are"),
    experts(
        "expert_feed_forward_length",
        ZERO,
        "experts of their own width are",
    ),
    experts(
        "expert_shared_feed_forward_length",
        ZERO,
        "shared experts are",
    ),
    experts(
        "expert_chunk_feed_forward_length",
        ZERO,
        "experts in chunks are",
    ),
    experts("swiglu_clamp_exp", ZERO, "a clamp of the gate is"),
    experts("swiglu_clamp_shexp", ZERO, "a clamp of the gate is"),
    experts("expert_used_count", NOTHING, "mixtures of experts are"),
    experts("expert_shared_count", ZERO, "shared experts are"),
    experts("expert_group_count", FACTOR, "groups of experts are"),
    experts("expert_group_used_count", FACTOR, "groups of experts are"),
    experts(
        "expert_weights_scale",
        FACTOR,
        "a scale of the experts' weights is",
    ),
    experts(
        "expert_weights_norm",
        ONE,
        "weights of experts that do not add up to 1 are",
    ),
    experts(
        "expert_latent_length",
        ZERO,
        "experts of their own width are",
    ),
    experts("expert_gating_func", FACTOR, "a router without softmax is"),
    experts("expert_group_scale", NOTHING, "groups of experts are").under("expert_group_count"),
    experts("experts_per_group", NOTHING, "groups of experts are").under("expert_group_count"),
    experts(
        "moe_every_n_layers",
        FACTOR,
        "a mix of dense layers and experts is",
    ),
    experts("moe_latent_size", ZERO, "experts of their own width are"),
    // Attention.
    KeyRule::refused("attention.causal", ONE, "attention to later tokens is"),
    part("attention.max_alibi_bias", "ALiBi is"),
    part(
        "attention.clamp_kqv",
        "a clamp of queries, keys and values is",
    ),
    no_effect("attention.layer_norm_epsilon", "all norms are RMS norms"),
    no_effect("attention.group_norm_epsilon", "all norms are RMS norms"),
    no_effect("attention.group_norm_groups", "all norms are RMS norms"),
    part("attention.q_lora_rank", LATENT),
    part("attention.kv_lora_rank", LATENT),
    part("attention.decay_lora_rank", RECURRENT),
    part("attention.iclr_lora_rank", RECURRENT),
    part("attention.value_residual_mix_lora_rank", RECURRENT),
    part("attention.gate_lora_rank", RECURRENT),
    part("attention.relative_buckets_count", "relative positions are"),
    KeyRule::refused(
        "attention.sliding_window",
        WINDOW_THAT_NEVER_CUTS,
        "a window in this architecture is",
    ),
    windowed(
        "attention.sliding_window_pattern",
        NOTHING,
        "windows in this architecture are",
    ),
    KeyRule::refused(
        "attention.rope_pattern",
        ONE,
        "layers that are not rotated are",
    ),
    factor(
        "attention.output_scale",
        "a scale of what attention gives is",
    ),
    factor("attention.value_scale", "a scale of the values is"),
    part(
        "attention.temperature_length",
        "scores that depend on the position are",
    ),
    part(
        "attention.temperature_scale",
        "scores that depend on the position are",
    ),
    part("attention.key_length_mla", LATENT),
    part("attention.value_length_mla", LATENT),
    windowed(
        "attention.key_length_swa",
        Neutral::SameAs("attention.key_length"),
        OTHER_HEADS,
    ),
    windowed(
        "attention.value_length_swa",
        Neutral::SameAs("attention.value_length"),
        OTHER_HEADS,
    ),
    part("attention.key_length_mla_swa", LATENT),
    part("attention.value_length_mla_swa", LATENT),
    part("attention.kv_lora_rank_swa", LATENT),
    part("attention.indexer.head_count", INDEXER),
    part("attention.indexer.key_length", INDEXER),
    part("attention.indexer.top_k", INDEXER),
    part("attention.indexer.block_size", INDEXER),
    part("attention.indexer.local_blocks", INDEXER),
    part("attention.indexer.types", INDEXER),
    part("attention.indexer.kpool", INDEXER),
    part("attention.indexer.kpool_select_tail", INDEXER).under("attention.indexer.kpool"),
    part("attention.output_group_count", LATENT),
    part("attention.output_lora_rank", LATENT),
    part("attention.compress_rope_freq_base", "compressed keys are"),
    part("attention.compress_ratios", "compressed keys are"),
    part(
        "attention.shared_kv_layers",
        "layers that share keys and values are",
    ),
    part("attention.recurrent_layers", RECURRENT),
    part("hyper_connection.count", HYPER),
    part("hyper_connection.sinkhorn_iterations", HYPER).under("hyper_connection.count"),
    part("hyper_connection.epsilon", HYPER).under("hyper_connection.count"),
    part("hyper_connection.magnitude", HYPER).under("hyper_connection.count"),
    part("hyper_connection.low_rank", HYPER).under("hyper_connection.count"),
    KeyRule::refused("ple.layers", ZERO, PER_LAYER),
    KeyRule::refused("ple.ngram_size", ZERO, PER_LAYER),
    KeyRule::refused("ple.heads_per_ngram", ZERO, PER_LAYER),
    KeyRule::refused("ple.conv_kernel", ZERO, PER_LAYER),
    KeyRule::refused("ple.layer_multipliers", ZERO, PER_LAYER),
    KeyRule::refused("ple.head_offsets", ZERO, PER_LAYER),
    KeyRule::refused("ple.head_vocab_sizes", ZERO, PER_LAYER),
    KeyRule::refused("ple.eos_token_id", NOTHING, PER_LAYER).under("ple.ngram_size"),
    KeyRule::refused("ple.image_token_id", NOTHING, PER_LAYER).under("ple.ngram_size"),
    // Rotation.
    windowed(
        "rope.dimension_count_swa",
        Neutral::SameAs("rope.dimension_count"),
        "another rotation in layers with a window is",
    ),
    part(
        "rope.dimension_sections",
        "a rotation by several positions is",
    ),
    windowed(
        "rope.freq_base_swa",
        Neutral::SameAs("rope.freq_base"),
        "another rotation in layers with a window is",
    ),
    no_effect(
        "rope.scale_linear",
        "`rope.scaling.factor` or `rope.scaling.type` says it",
    ),
    no_effect(
        "rope.scaling.factor",
        "`rope.scaling.type` says that there is none",
    ),
    factor("rope.scaling.alpha", "a base that is scaled by `alpha` is"),
    factor(
        "rope.scaling.attn_factor",
        "a scale of the rotation's cosines is",
    ),
    no_effect("rope.scaling.original_context_length", LONG),
    no_effect(
        "rope.scaling.finetuned",
        "it says how the model was trained",
    ),
    no_effect("rope.scaling.yarn_log_multiplier", YARN),
    no_effect("rope.scaling.yarn_ext_factor", YARN),
    no_effect("rope.scaling.yarn_attn_factor", YARN),
    no_effect("rope.scaling.yarn_beta_fast", YARN),
    no_effect("rope.scaling.yarn_beta_slow", YARN),
    // Recurrent layers.
    part("ssm.conv_kernel", RECURRENT),
    part("ssm.inner_size", RECURRENT),
    part("ssm.state_size", RECURRENT),
    part("ssm.time_step_rank", RECURRENT),
    part("ssm.group_count", RECURRENT),
    part("ssm.dt_b_c_rms", RECURRENT),
    part("kda.head_dim", RECURRENT),
    part("kda.safe_gate", RECURRENT),
    part("kda.gate_lower_bound", RECURRENT).under("kda.head_dim"),
    part("wkv.head_size", RECURRENT),
    part("shortconv.l_cache", "convolutions between layers are"),
    // What is no model of text.
    part("posnet.embedding_length", SPEECH),
    part("posnet.block_count", SPEECH),
    part("convnext.embedding_length", SPEECH),
    part("convnext.block_count", SPEECH),
    KeyRule::refused("classifier.output_labels", ZERO, "a classifier is"),
    KeyRule::refused("classifier.pooling_type", NOTHING, "a classifier is")
        .under("classifier.output_labels"),
    part("decision.block_count", DECISION),
    part("decision.routing_block_count", DECISION),
    part("decision.head_count", DECISION),
    KeyRule::refused("target_layers", ZERO, DRAFT),
    part("target_hidden_size", DRAFT),
    part("norm_before_residual", DRAFT),
    part("norm_before_fc", DRAFT),
    part("block_size", DRAFT),
    part("conv_kernel_size", DRAFT),
    part("conv_group_size", DRAFT),
    part("selector_rank", DRAFT),
    part("selector_top_k", DRAFT),
    part("dense_2_feat_in", DENSE),
    part("dense_2_feat_out", DENSE),
    part("dense_3_feat_in", DENSE),
    part("dense_3_feat_out", DENSE),
];

const SAME_AS_EMBEDDING: Neutral = Neutral::SameAs("embedding_length");
const WINDOW_THAT_NEVER_CUTS: Neutral = Neutral::AtLeast("context_length");
const OTHER_HEADS: &str = "heads of another size in layers with a window are";
