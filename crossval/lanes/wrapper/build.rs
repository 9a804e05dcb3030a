//! Finds a built llama.cpp, makes bindings from its own `llama.h`, links it.
//!
//! It builds no C++. The directory comes from `BITNET_LANE_REFERENCE_DIR`,
//! which `cargo xtask setup-cpp-auto` sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

const VARIABLE: &str = "BITNET_LANE_REFERENCE_DIR";

/// How deep below the directory a header or a library may lie.
const DEPTH: usize = 8;

/// In the order that a linker of static archives wants: users before what they use.
const LIBRARIES: [&str; 4] = ["llama", "ggml", "ggml-cpu", "ggml-base"];

/// A function or field of the header, and the `cfg` that its presence sets.
const API_MARKS: [(&str, &str); 4] = [
    ("fn llama_model_get_vocab(", "vocab_api"),
    ("fn llama_get_memory(", "memory_api"),
    ("flash_attn_type:", "flash_enum"),
    ("use_extra_bufts:", "extra_buffers"),
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={VARIABLE}");
    let Some(root) = env::var_os(VARIABLE)
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
    else {
        panic!("{VARIABLE} is not set: build the lanes with `cargo xtask setup-cpp-auto`");
    };
    println!("cargo:rerun-if-changed={}", root.display());
    let found = Found::below(&root);
    let header = |name| {
        let message = format!(
            "no {name} below {}: is it a built llama.cpp?",
            root.display()
        );
        found.files.get(name).expect(&message)
    };
    let bindings = bind(header("llama.h"), header("ggml.h"));
    for (mark, cfg) in API_MARKS {
        if bindings.contains(mark) {
            println!("cargo:rustc-cfg={cfg}");
        }
    }
    link(&found, &root);
}

/// Headers and libraries below a directory, by file name. The shallowest of a name wins, then the
/// first in alphabetical order, so that the choice does not depend on the file system.
struct Found {
    files: BTreeMap<String, PathBuf>,
}

impl Found {
    fn below(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut level = vec![root.to_path_buf()];
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for directory in level {
                let Ok(entries) = fs::read_dir(&directory) else {
                    continue;
                };
                let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
                paths.sort();
                for path in paths {
                    if path.is_dir() {
                        next.push(path);
                    } else if let Some(name) = path.file_name().and_then(|n| n.to_str()) {
                        files.entry(name.to_owned()).or_insert(path);
                    }
                }
            }
            level = next;
        }
        Self { files }
    }

    /// A library and the kind of linking that it wants.
    fn library(&self, name: &str) -> Option<(&Path, &'static str)> {
        let candidates = [
            (format!("lib{name}.a"), "static"),
            (format!("{name}.lib"), "static"),
            (format!("lib{name}.so"), "dylib"),
            (format!("lib{name}.dylib"), "dylib"),
        ];
        candidates
            .iter()
            .find_map(|(file, kind)| Some((self.files.get(file)?.as_path(), *kind)))
    }
}

fn bind(header: &Path, ggml: &Path) -> String {
    let include = |file: &Path| format!("-I{}", file.parent().unwrap_or(file).display());
    let bindings = bindgen::Builder::default()
        .header(header.display().to_string())
        // Declares `ggml_backend_tensor_get`; not every llama.h includes it.
        .header_contents("lane.h", "#include \"ggml-backend.h\"\n")
        .clang_arg(include(header))
        .clang_arg(include(ggml))
        .allowlist_function("llama_.*")
        .allowlist_function("ggml_(backend_tensor_get|nbytes|get_name)")
        .allowlist_type("llama_.*")
        .allowlist_var("LLAMA_.*")
        .prepend_enum_name(false)
        .layout_tests(false)
        .generate_comments(false)
        .generate()
        .unwrap_or_else(|error| panic!("bindgen cannot read {}: {error}", header.display()))
        .to_string();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("bindings.rs"), &bindings)
        .unwrap_or_else(|error| panic!("cannot write bindings to {}: {error}", out.display()));
    bindings
}

fn link(found: &Found, root: &Path) {
    let mut rpaths = Vec::new();
    for name in LIBRARIES {
        let Some((file, kind)) = found.library(name) else {
            // Older versions have one ggml library, newer ones three.
            assert!(
                name.starts_with("ggml-"),
                "no lib{name} below {}: build its `llama` target first",
                root.display()
            );
            continue;
        };
        let directory = file.parent().unwrap_or(root).display().to_string();
        println!("cargo:rustc-link-search=native={directory}");
        println!("cargo:rustc-link-lib={kind}={name}");
        if kind == "dylib" && !rpaths.contains(&directory) {
            rpaths.push(directory);
        }
    }
    println!("cargo:rpaths={}", rpaths.join(":"));
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => {
            println!("cargo:rustc-link-lib=c++");
            println!("cargo:rustc-link-lib=framework=Accelerate");
        }
        Ok("windows") => {}
        _ => println!("cargo:rustc-link-lib=dylib=stdc++"),
    }
}
