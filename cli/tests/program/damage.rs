//! A model whose weights are damaged: no text comes out of it.

use std::path::{Path, PathBuf};

use bitnet_engine::gguf::Gguf;

use crate::bits::{isas, logits};
use crate::{bitnet, golden, output, stderr, stdout};

/// A golden model with `bytes` written over those of a tensor, `at` bytes before its end.
fn damaged(folder: &Path, model: &str, tensor: &str, at: usize, bytes: &[u8]) -> PathBuf {
    let mut content = std::fs::read(golden(model)).unwrap();
    let gguf = Gguf::from_bytes(content.clone()).unwrap();
    let end = gguf.tensor(tensor).unwrap().range().unwrap().end;
    content[end - at..end - at + bytes.len()].copy_from_slice(bytes);
    let file = folder.join("damaged.gguf");
    std::fs::write(&file, content).unwrap();
    file
}

#[test]
fn damage_is_among_the_logits_and_ends_a_run_on_every_instruction_set() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let isas = isas(folder);
    let nan = f32::NAN.to_le_bytes();
    let huge = 1e30_f32.to_le_bytes();
    let infinity = f32::INFINITY.to_le_bytes();
    for (model, tensor, at, bytes) in [
        // The scale of an I2_S tensor begins its last 32 bytes.
        ("b158-i2_s.gguf", "blk.0.attn_q.weight", 32, &nan[..]),
        ("b158-i2_s.gguf", "blk.0.ffn_gate.weight", 32, &infinity),
        ("llama-i2_s.gguf", "blk.0.ffn_down.weight", 32, &huge),
        ("llama-i2_s.gguf", "blk.0.attn_norm.weight", 4, &nan),
        // A block of TQ2_0 ends with its scale: infinity in binary16.
        ("bitnet-tq2_0.gguf", "blk.0.attn_v.weight", 2, &[0x00, 0x7c]),
        // The embedding, which serves as output head too: every logit of its last token.
        ("bitnet-tq2_0.gguf", "token_embd.weight", 2, &[0x00, 0x7e]),
    ] {
        let file = damaged(folder, model, tensor, at, bytes);
        let what = format!("{model}, {tensor} with {bytes:?}");
        let wanted = logits(folder, &file, "scalar", 1, 1);
        let (floats, _) = wanted.as_chunks::<4>();
        let is_nan = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_nan();
        assert!(floats.iter().any(is_nan), "{what}: no logit is NaN");
        for isa in &isas {
            for (threads, batch) in [(1, 512), (2, 7)] {
                let found = logits(folder, &file, isa, threads, batch);
                assert!(found == wanted, "{what}: other logits with {isa}");
            }
            for temperature in ["0", "0.8"] {
                let result = output(
                    bitnet(folder)
                        .args([
                            "run",
                            "--device",
                            "cpu",
                            "--prompt",
                            "x",
                            "--max-tokens",
                            "4",
                        ])
                        .args(["--temperature", temperature, "--model"])
                        .arg(&file)
                        .env("BITNET_ISA", isa),
                );
                let message = stderr(&result);
                assert_eq!(result.status.code(), Some(1), "{what}, {isa}: {message}");
                assert!(message.contains("not a finite number"), "{message}");
                assert_eq!(stdout(&result), "", "{what}, {isa}");
            }
        }
    }
}
