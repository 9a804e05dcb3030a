//! The same bytes from every instruction set, number of threads and batch split.

use std::path::Path;

use crate::{bitnet, golden, output, root, stderr, stdout};

pub(crate) fn logits(folder: &Path, model: &Path, isa: &str, threads: u32, batch: u32) -> Vec<u8> {
    let out = folder.join("logits.f32");
    let tokens = "1,5,17,200,33,7,450,99,12,401,3,88,256,300,42,42,42,9,310,77,128,64,500,2,11,12,13,14,15,16,17,18,19";
    let result = output(
        bitnet(folder)
            .args(["logits", "--device", "cpu", "--tokens", tokens])
            .args([
                "--threads",
                &threads.to_string(),
                "--batch",
                &batch.to_string(),
            ])
            .arg("--model")
            .arg(model)
            .arg("--out")
            .arg(&out)
            .env("BITNET_ISA", isa),
    );
    assert!(result.status.success(), "{}", stderr(&result));
    std::fs::read(&out).expect("the logits were written")
}

pub(crate) fn isas(folder: &Path) -> Vec<String> {
    let devices = output(bitnet(folder).args(["devices", "--json"]));
    let devices: serde_json::Value =
        serde_json::from_str(&stdout(&devices)).expect("devices are JSON");
    serde_json::from_value(devices["cpu"]["instruction_sets"].clone())
        .expect("instruction sets are listed")
}

#[test]
fn logits_are_the_same_bytes_whatever_computes_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let isas = isas(folder);
    println!("instruction sets: {isas:?}");
    let models = [
        root().join("demo/demo.gguf"),
        golden("llama-i2_s.gguf"),
        golden("bitnet-tq2_0.gguf"),
        golden("bitnet-tq1_0.gguf"),
        golden("b158-i2_s.gguf"),
    ];
    for model in models {
        let wanted = logits(folder, &model, "scalar", 1, 1);
        for isa in &isas {
            for (threads, batch) in [(1, 512), (1, 7), (2, 1), (2, 7), (2, 512), (3, 512), (4, 7)] {
                let bytes = logits(folder, &model, isa, threads, batch);
                assert!(
                    bytes == wanted,
                    "{}: {isa}, {threads} threads, batches of {batch} differ",
                    model.display()
                );
            }
        }
    }
}
