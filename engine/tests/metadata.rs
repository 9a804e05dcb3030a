//! Metadata is accounted for: every key is honoured, known to have no effect, warned about or
//! refused by its name.

use std::path::Path;

use bitnet_engine::gguf::keys::Fate;
use bitnet_engine::gguf::{Array, Gguf, Value, Writer, tensor_type};
use bitnet_engine::kernels::oracle;
use bitnet_engine::metadata::{self, KeyAccount};
use bitnet_engine::plan::{self, Plan};
use bitnet_engine::{Architecture, CacheType, Config};

/// The keys of llama.cpp, `%s` for the architecture.
const LLAMA_CPP: &str = include_str!("data/llama_cpp_keys.txt");

/// Those that the reader of files honours before anybody else: it refuses values that are none.
const OF_THE_READER: [&str; 3] = ["general.alignment", "split.no", "split.count"];

fn llama_cpp() -> impl Iterator<Item = &'static str> {
    LLAMA_CPP.lines().filter(|line| !line.starts_with('#'))
}

/// A golden model with other values under some keys, and with further tensors of f32.
fn changed(model: &str, keys: &[(&str, Value)], tensors: &[(&str, &[f32])]) -> Gguf {
    rewritten(model, "", keys, tensors)
}

/// A golden model that lacks a key.
fn without(model: &str, key: &str) -> Gguf {
    rewritten(model, key, &[], &[])
}

fn rewritten(
    model: &str,
    left_out: &str,
    keys: &[(&str, Value)],
    tensors: &[(&str, &[f32])],
) -> Gguf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let golden = Gguf::open(folder.join(model)).expect("a golden model");
    let mut writer = Writer::new();
    for (key, value) in golden.metadata().iter().filter(|(key, _)| *key != left_out) {
        writer.set(key, value.clone());
    }
    for (key, value) in keys {
        writer.set(*key, value.clone());
    }
    for tensor in golden.tensors() {
        let declared = writer.tensor(&tensor.name, &tensor.shape, tensor.type_id);
        declared.expect("a sound tensor");
    }
    for (name, values) in tensors {
        let declared = writer.tensor(*name, &[values.len() as u64], tensor_type::F32);
        declared.expect("a sound tensor");
    }
    let mut body = writer.begin(Vec::new()).expect("memory is written to");
    for tensor in golden.tensors() {
        let data = golden.data(tensor).expect("a sound tensor");
        body.write(&tensor.name, data).expect("as declared");
    }
    for (name, values) in tensors {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        body.write(name, &bytes).expect("as declared");
    }
    Gguf::from_bytes(body.finish().expect("all is written")).expect("a sound file")
}

fn planned(gguf: &Gguf) -> Result<Plan, String> {
    let plan = plan::plan(gguf, CacheType::F16);
    plan.map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// A file of nothing but keys.
fn keys_only(keys: &[(String, Value)]) -> Gguf {
    let mut writer = Writer::new();
    for (key, value) in keys {
        writer.set(key, value.clone());
    }
    let body = writer.begin(Vec::new()).expect("memory is written to");
    Gguf::from_bytes(body.finish().expect("all is written")).expect("a sound file")
}

fn fate(accounts: Vec<KeyAccount>, key: &str) -> Fate {
    let account = accounts.into_iter().find(|account| account.key == key);
    account.expect("every key is accounted for").fate
}

#[test]
fn every_key_of_llama_cpp_is_known_in_every_architecture() {
    let probes = [
        Value::U32(3),
        Value::F32(0.5),
        Value::Bool(true),
        Value::String("x".to_owned()),
        Array::from(&[0.5_f32; 2][..]).into(),
    ];
    for architecture in Architecture::names() {
        for name in llama_cpp().filter(|name| !OF_THE_READER.contains(name)) {
            let key = name.replace("%s", architecture);
            for value in &probes {
                let mut keys = vec![
                    ("general.architecture".to_owned(), architecture.into()),
                    ("tokenizer.ggml.model".to_owned(), "gpt2".into()),
                ];
                // What other keys depend on.
                for switch in ["expert_count", "attention.sliding_window", "wkv.head_size"] {
                    keys.push((format!("{architecture}.{switch}"), Value::U32(2)));
                }
                keys.retain(|(other, _)| *other != key);
                keys.push((key.clone(), value.clone()));
                let fate = fate(metadata::account(&keys_only(&keys)), &key);
                assert_ne!(fate, Fate::unknown(&key), "{architecture}");
            }
        }
    }
}

#[test]
fn what_is_honoured_changes_the_model_or_is_refused() {
    for (model, architecture) in [
        ("llama-i2_s.gguf", "llama"),
        ("bitnet-i2_s.gguf", "bitnet"),
        ("b158-i2_s.gguf", "bitnet-b1.58"),
        ("qwen3-tq2_0.gguf", "qwen3"),
    ] {
        let before = Config::read(&changed(model, &[], &[])).expect("a golden model");
        let mut honoured = 0;
        let probes: [Value; 4] = [7_u32.into(), 3.5_f32.into(), "relu2".into(), "silu".into()];
        let keys = llama_cpp().filter_map(|name| name.strip_prefix("%s."));
        for key in keys.map(|name| format!("{architecture}.{name}")) {
            for value in &probes {
                let kept = [
                    ("general.architecture".to_owned(), architecture.into()),
                    (key.clone(), value.clone()),
                ];
                if fate(metadata::account(&keys_only(&kept)), &key) != Fate::Honoured {
                    continue;
                }
                let gguf = changed(model, &[(&key, value.clone())], &[]);
                honoured += 1;
                let after = Config::read(&gguf);
                let unchanged = after.is_ok_and(|after| after == before);
                // An activation may be the one that there was.
                assert!(!unchanged || value.as_str().is_some(), "{key} = {value}");
            }
        }
        assert!(honoured >= 10, "{model}: {honoured}");
    }
}

#[test]
fn a_value_that_changes_nothing_runs_and_another_is_refused_by_its_name() {
    let plain = planned(&changed("llama-i2_s.gguf", &[], &[])).expect("a golden model");
    let layers = plain.config.layers;
    let nan = Value::F32(f32::NAN);
    let counts = |counts: &[u32]| Value::Array(Array::from(counts));
    let heads = plain.config.heads as u32;
    let same = counts(&vec![heads; layers]);
    let mut mixed = vec![heads; layers];
    mixed[0] = 1;
    let context = plain.config.context as u32;
    let scale = 1.0 / (plain.config.head_dim as f32).sqrt();
    // The key, a value that changes nothing, one that would.
    let cases: &[(&str, Value, Value)] = &[
        ("attention.causal", true.into(), false.into()),
        ("hidden_activation", "silu".into(), "gelu".into()),
        ("hidden_act", "silu".into(), "gelu_pytorch_tanh".into()),
        ("rope.scaling.type", "linear".into(), "dynamic".into()),
        ("rope.scaling.factor", 1.0_f32.into(), nan.clone()),
        ("rope.scaling.factor", 0.0_f32.into(), (-2.0_f32).into()),
        ("rope.scale_linear", 1.0_f32.into(), f32::INFINITY.into()),
        ("rope.scaling.attn_factor", 1.0_f32.into(), nan.clone()),
        ("rope.scaling.alpha", 0.0_f32.into(), 1000.0_f32.into()),
        (
            "rope.dimension_sections",
            counts(&[0; 4]),
            counts(&[6, 5, 5, 0]),
        ),
        ("attn_logit_softcapping", 0.0_f32.into(), 50.0_f32.into()),
        ("final_logit_softcapping", 0.0_f32.into(), 30.0_f32.into()),
        ("attention.sliding_window", context.into(), 16_u32.into()),
        (
            "attention.sliding_window",
            0_u32.into(),
            (context - 1).into(),
        ),
        ("attention.scale", scale.into(), 1.0_f32.into()),
        ("attention.clamp_kqv", 0.0_f32.into(), 8.0_f32.into()),
        ("attention.max_alibi_bias", 0.0_f32.into(), 8.0_f32.into()),
        ("attention.head_count", same, counts(&mixed)),
        ("embedding_scale", 1.0_f32.into(), 12.0_f32.into()),
        ("residual_scale", 1.0_f32.into(), 0.22_f32.into()),
        ("logit_scale", 1.0_f32.into(), 0.0625_f32.into()),
        ("expert_count", 0_u32.into(), 8_u32.into()),
        ("nextn_predict_layers", 0_u32.into(), 1_u32.into()),
        ("use_parallel_residual", false.into(), true.into()),
        (
            "embedding_length_out",
            (plain.config.embedding as u32).into(),
            64_u32.into(),
        ),
        ("full_attention_interval", 1_u32.into(), 4_u32.into()),
    ];
    for (name, neutral, other) in cases {
        let key = format!("llama.{name}");
        let run =
            |value: &Value| planned(&changed("llama-i2_s.gguf", &[(&key, value.clone())], &[]));
        let same = run(neutral).unwrap_or_else(|problems| panic!("{key} = {neutral}: {problems}"));
        assert_eq!(same.program.ops, plain.program.ops, "{key} = {neutral}");
        assert_eq!(
            same.program.rotations, plain.program.rotations,
            "{key} = {neutral}"
        );
        let problems = run(other).expect_err(&key);
        assert!(
            problems.contains(&format!("`{key}`")),
            "{key} = {other}: {problems}"
        );
    }
    for (name, absurd) in [
        ("attention.layer_norm_rms_epsilon", nan.clone()),
        ("attention.layer_norm_rms_epsilon", 1e30_f32.into()),
        ("attention.layer_norm_rms_epsilon", 0_u32.into()),
        ("rope.freq_base", f32::INFINITY.into()),
        ("rope.freq_base", 1e-30_f32.into()),
        ("rope.freq_base", "10000".into()),
        ("context_length", (-1_i32).into()),
        ("block_count", (1_u32 << 24).into()),
        ("block_count", 65_536_u32.into()),
    ] {
        let key = format!("llama.{name}");
        let gguf = changed("llama-i2_s.gguf", &[(&key, absurd)], &[]);
        let problems = planned(&gguf).expect_err(&key);
        assert!(problems.contains(&format!("`{key}`")), "{problems}");
        assert!(problems.len() < 1000, "{} bytes", problems.len());
    }
}

#[test]
fn a_scaled_rotation_is_that_of_factors_alike() {
    let frequencies = |gguf: &Gguf| -> Vec<f32> {
        let program = planned(gguf).expect("it runs").program;
        oracle::rope_frequencies(&program.rotations[0], 1)
    };
    let rotations = |keys: &[(&str, Value)]| frequencies(&changed("llama-i2_s.gguf", keys, &[]));
    let plain = rotations(&[]);
    let factors = vec![4.0; plain.len()];
    let gguf = changed("llama-i2_s.gguf", &[], &[("rope_freqs.weight", &factors)]);
    let by_tensor = frequencies(&gguf);
    assert_ne!(by_tensor, plain);
    let four: Value = 4.0_f32.into();
    let linear = ("llama.rope.scaling.type", "linear".into());
    for keys in [
        vec![("llama.rope.scaling.factor", four.clone())],
        vec![("llama.rope.scale_linear", four.clone())],
        vec![linear.clone(), ("llama.rope.scaling.factor", four.clone())],
        vec![linear, ("llama.rope.scale_linear", four.clone())],
        // The newer key comes first.
        vec![
            ("llama.rope.scale_linear", 2.0_f32.into()),
            ("llama.rope.scaling.factor", four.clone()),
        ],
    ] {
        assert_eq!(rotations(&keys), by_tensor, "{keys:?}");
    }
    let none = ("llama.rope.scaling.type", "none".into());
    assert_eq!(
        rotations(&[none, ("llama.rope.scaling.factor", four)]),
        plain
    );
}

/// As llama.cpp reads it: its windowed layers know the factor only, and only they are rotated.
#[test]
fn a_type_of_none_takes_the_factor_away_but_not_from_windowed_layers() {
    for (model, arch, scaled) in [
        ("qwen3-tq2_0.gguf", "qwen3", false),
        ("qwen35-q2_0.gguf", "qwen35", false),
        ("hunyuan-tq2_0.gguf", "hunyuan-dense", false),
        ("llama-tq2_0-q4k.gguf", "llama", false),
        ("b158-i2_s.gguf", "bitnet-b1.58", false),
        ("maple-tq2_0.gguf", "maple", true),
    ] {
        let rotations = |keys: &[(&str, Value)]| {
            let keys: Vec<_> = keys
                .iter()
                .map(|(name, value)| (format!("{arch}.rope.scaling.{name}"), value.clone()))
                .collect();
            let keys: Vec<_> = keys
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone()))
                .collect();
            let plan = planned(&changed(model, &keys, &[])).expect("it runs");
            plan.program.rotations
        };
        let (none, factor) = (("type", "none".into()), ("factor", 8.0_f32.into()));
        let plain = rotations(&[none.clone(), ("factor", 1.0_f32.into())]);
        let linear = rotations(&[("type", "linear".into()), factor.clone()]);
        assert_ne!(plain, linear, "{model}");
        let wanted = if scaled { linear } else { plain };
        assert_eq!(rotations(&[none, factor]), wanted, "{model}");
    }
}

#[test]
fn a_missing_key_that_converters_write_is_a_doubt() {
    for (model, keys) in [
        (
            "minicpm-tq2_0.gguf",
            &[
                "minicpm.logit_scale",
                "minicpm.residual_scale",
                "minicpm.embedding_scale",
            ][..],
        ),
        ("maple-tq2_0.gguf", &["maple.rope.freq_base"]),
        ("qwen35-q2_0.gguf", &["qwen35.rope.freq_base"]),
        ("hunyuan-tq2_0.gguf", &["hunyuan-dense.rope.freq_base"]),
    ] {
        assert_eq!(metadata::doubts(&changed(model, &[], &[])), [""; 0]);
        for key in keys {
            let gguf = without(model, key);
            planned(&gguf).expect("it runs");
            let doubts = metadata::doubts(&gguf);
            assert_eq!(doubts.len(), 1, "{doubts:?}");
            assert!(
                doubts[0].contains(&format!("`{key}` is missing")),
                "{doubts:?}"
            );
        }
    }
}

/// What llama.cpp needs is needed here too, and named where it is missing.
#[test]
fn a_missing_key_that_llama_cpp_needs_is_an_error_that_names_it() {
    for (model, keys) in [
        (
            "maple-tq2_0.gguf",
            &[
                "maple.expert_count",
                "maple.expert_used_count",
                "maple.expert_feed_forward_length",
                "maple.attention.sliding_window",
                "maple.attention.sliding_window_pattern",
                "maple.swiglu_clamp_exp",
                "maple.attention.layer_norm_rms_epsilon",
            ][..],
        ),
        (
            "qwen35-q2_0.gguf",
            &[
                "qwen35.rope.dimension_sections",
                "qwen35.ssm.conv_kernel",
                "qwen35.ssm.inner_size",
                "qwen35.ssm.state_size",
                "qwen35.ssm.time_step_rank",
                "qwen35.ssm.group_count",
            ],
        ),
    ] {
        for key in keys {
            let problems = planned(&without(model, key)).expect_err(key);
            assert!(problems.contains(key), "{key}: {problems}");
        }
    }
}

#[test]
fn the_activation_is_the_files_where_it_says_one() {
    let key = "bitnet.hidden_activation";
    let before = planned(&changed("bitnet-i2_s.gguf", &[], &[])).expect("a golden model");
    let relu2 = changed("bitnet-i2_s.gguf", &[(key, "relu2".into())], &[]);
    let relu2 = planned(&relu2).expect("it runs");
    let silu = changed("bitnet-i2_s.gguf", &[(key, "silu".into())], &[]);
    assert_eq!(
        planned(&silu).expect("it runs").program.ops,
        before.program.ops
    );
    assert_ne!(relu2.program.ops, before.program.ops);
}

#[test]
fn an_unknown_key_of_the_model_is_a_doubt_and_one_of_the_file_is_not() {
    let keys: &[(&str, Value)] = &[
        ("llama.attention.sink_count", 4_u32.into()),
        ("general.quantized_by", "somebody".into()),
        ("general.sampling.temp", 0.6_f32.into()),
    ];
    let doubts = metadata::doubts(&changed("llama-i2_s.gguf", keys, &[]));
    assert_eq!(doubts.len(), 1, "{doubts:?}");
    assert!(
        doubts[0].contains("`llama.attention.sink_count`"),
        "{doubts:?}"
    );
    let many: Vec<String> = (0..100_000).map(|i| format!("llama.unknown{i}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|key| (key.as_str(), Value::Bool(true)))
        .collect();
    let doubts = metadata::doubts(&changed("llama-i2_s.gguf", &many, &[]));
    assert!(doubts.len() < 50 && doubts.concat().len() < 10_000);
}

#[test]
fn a_transform_of_activations_is_refused_in_one_line() {
    let keys: &[(&str, Value)] = &[
        ("prism.hadamard.version", 1_u32.into()),
        ("prism.hadamard.block_size", 1024_u32.into()),
        (
            "prism.hadamard.tensors",
            Array::from_strings(["blk.0.attn_q.weight"]).into(),
        ),
    ];
    let problems = planned(&changed("qwen3-tq2_0.gguf", keys, &[])).expect_err("refused");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(
        problems.contains("`prism.hadamard.version` and 2 more"),
        "{problems}"
    );
}

#[test]
fn tensors_without_a_place_are_refused_in_a_line_for_each_part_of_a_layer() {
    let names = |parts: &[&str]| -> Vec<String> {
        let of_layer = |layer| parts.iter().map(move |part| format!("blk.{layer}.{part}"));
        (0..2).flat_map(of_layer).collect()
    };
    for (model, parts) in [
        (
            "qwen3-tq2_0.gguf",
            &["attn_q.bias", "attn_k.bias", "attn_v.bias"][..],
        ),
        ("llama-tq2_0-q4k.gguf", &["attn_qkv.weight"]),
        // llama.cpp leaves these out without a word.
        (
            "maple-tq2_0.gguf",
            &["ffn_gate_exps.scale", "ffn_down_exps.scale"],
        ),
        ("qwen3-q2_0.gguf", &["attn_norm_in.weight"]),
    ] {
        let names = names(parts);
        let tensors: Vec<(&str, &[f32])> = names
            .iter()
            .map(|name| (name.as_str(), &[0.5_f32; 6][..]))
            .collect();
        let problems = planned(&changed(model, &[], &tensors)).expect_err(model);
        let lines: Vec<&str> = problems.lines().collect();
        let wanted: Vec<String> = parts
            .iter()
            .map(|part| {
                format!(
                    "tensors `blk.0.{part}` and 1 more have no place in this architecture; their \
                     effect would be lost"
                )
            })
            .collect();
        assert_eq!(lines, wanted);
    }
}

#[test]
fn a_template_that_is_no_text_is_refused() {
    for key in [
        "tokenizer.chat_template",
        "tokenizer.chat_template.tool_use",
    ] {
        let gguf = changed("llama-i2_s.gguf", &[(key, 7_u32.into())], &[]);
        let problems = planned(&gguf).expect_err("refused");
        assert!(problems.contains(&format!("`{key}`")), "{problems}");
    }
}

#[test]
fn what_is_no_model_of_text_is_named() {
    for (keys, wanted) in [
        (("general.type", "mmproj"), "`general.type`"),
        (("general.type", "adapter"), "`general.type`"),
        (("adapter.type", "lora"), "`adapter.type`"),
    ] {
        let keys = [(keys.0, keys.1.into())];
        let problems = planned(&changed("llama-i2_s.gguf", &keys, &[])).expect_err("refused");
        assert!(problems.contains(wanted), "{problems}");
    }
    let tensors: Vec<String> = (0..300).map(|i| format!("v.blk.{i}.ln1.weight")).collect();
    let mut tensors: Vec<(&str, &[f32])> = tensors
        .iter()
        .map(|name| (name.as_str(), &[1.0_f32, 2.0][..]))
        .collect();
    tensors.push(("blk.3.nextn.enorm.weight", &[1.0]));
    let problems = planned(&changed("llama-i2_s.gguf", &[], &tensors)).expect_err("refused");
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(
        problems.contains("300 tensors") && problems.contains("MTP"),
        "{problems}"
    );
}

#[test]
fn a_factor_without_a_place_or_no_number_is_refused() {
    let cases: &[(&str, &[f32])] = &[
        ("token_embd.scale", &[2.0]),
        ("blk.0.attn_q.scale", &[f32::NAN]),
        ("blk.0.attn_q.scale", &[f32::INFINITY]),
        ("rope_freqs.weight", &[f32::NAN; 32]),
        ("rope_freqs.weight", &[0.0; 32]),
    ];
    for (name, values) in cases {
        let gguf = changed("llama-i2_s.gguf", &[], &[(name, values)]);
        let problems = planned(&gguf).expect_err(name);
        assert!(problems.contains(&format!("`{name}`")), "{problems}");
    }
    // The same beside a matrix that is multiplied alone has its place.
    let gguf = changed("llama-i2_s.gguf", &[], &[("blk.0.attn_q.scale", &[2.0])]);
    planned(&gguf).expect("it runs");
}

#[test]
fn names_of_a_file_are_shown_without_what_commands_a_terminal() {
    let name = "x\u{1b}[2J\nproblem: none";
    let gguf = changed("llama-i2_s.gguf", &[], &[(name, &[1.0])]);
    let problems = planned(&gguf).expect_err("it has no place");
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(
        problems.contains("`x\\u{1b}[2J\\nproblem: none`"),
        "{problems}"
    );
    let gguf = changed("llama-i2_s.gguf", &[("llama.a\u{7}b", true.into())], &[]);
    let doubts = metadata::doubts(&gguf);
    assert!(doubts[0].contains("`llama.a\\u{7}b`"), "{doubts:?}");
}
