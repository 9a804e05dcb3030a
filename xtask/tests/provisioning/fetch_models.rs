//! The lockfile and the cache behind it.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use super::server::{Remote, Reply, Server, noise};
use super::workbench::{Run, Workbench, names_in, sha256};

/// A lockfile with a model in the repository (ci) and one on a server (integration).
struct Models {
    bench: Workbench,
    local: Vec<u8>,
    remote: Remote,
}

impl Models {
    fn new() -> Self {
        let models = Self {
            bench: Workbench::new(),
            local: noise(1000, 3),
            remote: Remote::noise(200_000),
        };
        models.bench.put("demo/demo.gguf", &models.local);
        models
    }

    fn lock(&self, url: &str) {
        let text = serde_json::json!({
            "schema_version": "1.0.0",
            "updated": "2026-01-01T00:00:00Z",
            "models": [
                {"name": "small", "tier": "ci", "url": "demo/demo.gguf", "sha256": sha256(&self.local),
                 "size_bytes": self.local.len(), "description": ""},
                {"name": "big", "tier": "integration", "url": url, "sha256": sha256(&self.remote.bytes),
                 "size_bytes": self.remote.bytes.len(), "description": ""},
            ],
        });
        self.bench
            .put("crossval-models.lock.json", text.to_string().as_bytes());
    }

    fn fetch(&self, more: &[&str]) -> Run {
        let mut args = vec![
            "fetch-models",
            "--lockfile",
            "crossval-models.lock.json",
            "--backoff",
            "0.01",
        ];
        args.extend(more);
        self.bench.run(args)
    }

    fn cached(&self, bytes: &[u8]) -> PathBuf {
        self.bench
            .path(".cache/bitnet/models")
            .join(sha256(bytes))
            .join("model.gguf")
    }
}

#[test]
fn models_arrive_under_their_hash_with_metadata_and_nothing_else() {
    let models = Models::new();
    let server = Server::of(models.remote.clone());
    models.lock(&format!("{}/big.gguf", server.url()));
    models
        .fetch(&[])
        .exits(0)
        .says("small: downloaded")
        .says("big: downloaded");
    for bytes in [&models.local, &*models.remote.bytes] {
        let path = models.cached(bytes);
        assert!(fs::read(&path).expect("cached") == *bytes);
        let folder = path.parent().expect("a parent");
        assert_eq!(
            names_in(folder),
            [".metadata.json", "model.gguf"].map(str::to_owned).into()
        );
        let metadata: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join(".metadata.json")).expect("metadata"))
                .expect("json");
        assert_eq!(metadata["sha256"], sha256(bytes));
        assert!(
            metadata["recorded_unix"]
                .as_u64()
                .is_some_and(|time| time > 0)
        );
    }
    assert_eq!(
        names_in(&models.bench.path(".cache/bitnet")),
        ["models".to_owned()].into()
    );

    models
        .fetch(&[])
        .exits(0)
        .says("big: verified in the cache");
    assert_eq!(server.requests().len(), 1, "nothing was asked for twice");
    models.fetch(&["--force"]).exits(0).says("big: downloaded");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_model_that_cannot_be_had_does_not_keep_the_others_from_coming() {
    let models = Models::new();
    let server = Server::of(models.remote.clone());
    models.lock(&format!("{}/big.gguf", server.url()));
    fs::remove_file(models.bench.path("demo/demo.gguf")).expect("removed");
    models
        .fetch(&[])
        .exits(14)
        .says("model small")
        .says("big: downloaded");
    assert!(models.cached(&models.remote.bytes).exists());
}

#[test]
fn a_tier_is_fetched_alone() {
    let models = Models::new();
    models.lock("http://127.0.0.1:1/big.gguf");
    models.fetch(&["--tier", "ci"]).exits(0);
    assert!(models.cached(&models.local).exists() && !models.cached(&models.remote.bytes).exists());
    let mut by_environment =
        models
            .bench
            .command(["fetch-models", "--lockfile", "crossval-models.lock.json"]);
    by_environment.env("BITNET_MODEL_TIER", "ci");
    models.bench.finish(by_environment).exits(0);
    models.fetch(&["--tier", "everything"]).exits(2);
}

#[test]
fn verify_only_tells_missing_from_wrong_and_downloads_nothing() {
    let models = Models::new();
    let server = Server::of(models.remote.clone());
    models.lock(&format!("{}/big.gguf", server.url()));
    models
        .fetch(&["--verify-only"])
        .exits(1)
        .says("big: MISSING")
        .says("cargo xtask fetch-models");
    assert!(server.requests().is_empty());
    models.fetch(&[]).exits(0);
    models.fetch(&["--verify-only"]).exits(0).says("big: ok");
    fs::write(models.cached(&models.remote.bytes), b"spoiled").expect("written");
    models
        .fetch(&["--verify-only"])
        .exits(13)
        .says("big: WRONG");
    models.fetch(&[]).exits(0).says("big: downloaded");
    models.fetch(&["--verify-only"]).exits(0);
}

#[test]
fn a_model_with_another_hash_or_length_never_enters_the_cache() {
    let models = Models::new();
    let length = models.remote.bytes.len();
    for other in [noise(length, 77), noise(length + 1, 77)] {
        let server = Server::of(Remote::new(other));
        models.lock(&format!("{}/big.gguf", server.url()));
        models
            .fetch(&["--tier", "integration"])
            .exits(13)
            .says("big");
        let folder = models.cached(&models.remote.bytes);
        assert!(names_in(folder.parent().expect("a parent")).is_empty());
    }
}

#[test]
fn a_cut_download_stays_as_partial_and_is_continued() {
    let models = Models::new();
    let cut = models.remote.clone();
    let server = Server::start(move |_, request| cut.reply(request).cut_body_at(50_000));
    models.lock(&format!("{}/big.gguf", server.url()));
    models
        .fetch(&["--tier", "integration", "--retries", "0"])
        .exits(14);
    let folder = models.cached(&models.remote.bytes);
    assert!(names_in(folder.parent().expect("a parent")).contains("model.gguf.partial"));
    let server = Server::of(models.remote.clone());
    models.lock(&format!("{}/big.gguf", server.url()));
    models.fetch(&["--tier", "integration"]).exits(0);
    assert_eq!(server.requests()[0].range_start(), Some(49_999));
}

#[test]
fn several_at_once_download_once() {
    let models = Models::new();
    let server = Server::of(models.remote.clone());
    models.lock(&format!("{}/big.gguf", server.url()));
    let args = [
        "fetch-models",
        "--lockfile",
        "crossval-models.lock.json",
        "--no-progress",
    ];
    let start = |_| {
        let mut command = models.bench.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("spawned")
    };
    let mut all: Vec<_> = (0..3).map(start).collect();
    for one in &mut all {
        assert_eq!(one.wait().expect("a status").code(), Some(0));
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn hub_addresses_go_through_the_mirror_or_the_folder() {
    let models = Models::new();
    let server = Server::of(models.remote.clone());
    models.lock("https://huggingface.co/org/repo/resolve/main/big.gguf");
    models.fetch(&["--base-url", &server.url()]).exits(0);
    assert_eq!(
        server.requests()[0].target,
        "/org/repo/resolve/main/big.gguf"
    );
    fs::remove_dir_all(models.bench.path(".cache")).expect("removed");
    models
        .bench
        .put("carried/org/repo/big.gguf", &models.remote.bytes);
    models
        .fetch(&["--base-url", "carried"])
        .exits(0)
        .says("big: downloaded");
}

#[test]
fn the_cache_can_be_elsewhere() {
    let models = Models::new();
    models.lock("http://127.0.0.1:1/big.gguf");
    let mut command = models.bench.command([
        "fetch-models",
        "--lockfile",
        "crossval-models.lock.json",
        "--tier",
        "ci",
    ]);
    command.env("BITNET_MODEL_CACHE_DIR", "elsewhere");
    models.bench.finish(command).exits(0);
    assert_eq!(
        names_in(&models.bench.path("elsewhere")),
        [sha256(&models.local)].into()
    );
}

#[test]
fn a_lockfile_that_cannot_be_used_says_why() {
    let models = Models::new();
    models.fetch(&[]).exits(1).says("crossval-models.lock.json");
    models
        .bench
        .put("crossval-models.lock.json", b"{\"schema_version\":\n 1}");
    models.fetch(&[]).exits(1).says("malformed").says("line 2");
    let refused = Server::start(|_, _| Reply::new(403).body(b""));
    models.lock(&refused.url());
    models.fetch(&[]).exits(11);
}
