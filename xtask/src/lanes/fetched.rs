//! A named version of a C++ reference from its repository, built with its own CMake.
//!
//! ```text
//! <cache>/fetched/<repository>-<tag>/source   the clone, with its submodules
//! <cache>/fetched/<repository>-<tag>/build    its build
//! <cache>/bitnet-llama-cli                    a link to the program of the last build
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::digest;
use bitnet_crossval::lane::Home;

use super::folder::Partial;
use super::process::{Runner, Talk, network_or_build, remove};
use super::provision::take_lock;
use super::{SetupError, reference, repair, tools};
use bitnet_process::Interrupt;

/// The program in the cache.
pub(crate) const PROGRAM: &str = "bitnet-llama-cli";

/// What the references call it.
const TARGET: &str = "llama-cli";

/// Kernels that bitnet.cpp includes whether it uses them or not, and that its own set-up script
/// copies from here.
const KERNELS: &str = "include/bitnet-lut-kernels.h";
const PRESET_KERNELS: &str = "preset_kernels/bitnet_b1_58-3B/bitnet-lut-kernels-tl2.h";

/// What to bring, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The repository's address or folder.
    pub repo: String,
    /// Branch or tag.
    pub tag: String,
    /// Build again although it is built.
    pub force: bool,
    /// Clone again as well.
    pub clean: bool,
}

/// What is there now.
#[derive(Debug)]
pub struct Fetched {
    /// Clone and build: a `BITNET_CPP_DIR` or `LLAMA_CPP_DIR`.
    pub folder: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// What it says about its version, on one line.
    pub version: String,
    /// Whether it was there before.
    pub was_there: bool,
}

/// Clones and builds what is missing of it, and makes sure that the program runs.
///
/// # Errors
/// Whatever stopped it, and a build without a working program.
pub fn fetch(
    wanted: &Wanted,
    home: &Home,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<Fetched, SetupError> {
    repair::guard()?;
    let _lock = take_lock(home, interrupt)?;
    let folder = home.path().join("fetched").join(wanted.folder_name());
    if wanted.clean {
        remove(&folder)?;
    }
    let program = home.path().join(PROGRAM);
    let (source, build) = (folder.join("source"), folder.join("build"));
    if !wanted.force
        && let Some(built) = find_program(&build)
    {
        publish(&built, &program)?;
        let version = version_of(&program)?;
        return Ok(Fetched {
            folder,
            program,
            version,
            was_there: true,
        });
    }
    for tool in ["git", "cmake"] {
        tools::require(tool, &wanted.repo)?;
    }
    let log = home.path().join("logs/fetch-cpp.log");
    let mut runner = Runner::new(&wanted.tag, log, talk, interrupt)?;
    if !source.is_dir() {
        clone(&mut runner, wanted, &source)?;
    }
    compile(&mut runner, &source, &build)?;
    let built = find_program(&build).ok_or_else(|| SetupError::Unusable {
        reference: "the reference",
        problem: format!(
            "its build has no program called {TARGET} below {}",
            build.display()
        ),
    })?;
    publish(&built, &program)?;
    let version = version_of(&program)?;
    runner.note("ready");
    Ok(Fetched {
        folder,
        program,
        version,
        was_there: false,
    })
}

impl Wanted {
    /// Readable, and different for different repositories.
    fn folder_name(&self) -> String {
        let leaf = self
            .repo
            .trim_end_matches('/')
            .rsplit(['/', '\\', ':'])
            .next();
        let leaf = leaf.unwrap_or_default().trim_end_matches(".git");
        let plain: String = format!("{leaf}-{}", self.tag)
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let key = digest::of_bytes(format!("{}\n{}", self.repo, self.tag).as_bytes());
        format!("{plain}-{}", &key[..8])
    }
}

fn clone(runner: &mut Runner<'_>, wanted: &Wanted, source: &Path) -> Result<(), SetupError> {
    let partial = Partial::beside(source)?;
    let mut command = Command::new("git");
    command
        .args([
            "clone",
            "--depth",
            "1",
            "--recurse-submodules",
            "--shallow-submodules",
        ])
        .args(["--branch", &wanted.tag, "--", &wanted.repo])
        .arg(partial.path())
        // A repository that wants a password is one that cannot be reached.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR");
    let what = format!("clone {} at {}", wanted.repo, wanted.tag);
    if let Err(error) = runner.run(&what, &mut command) {
        drop(partial);
        // Removed if nothing else is there: no folder without a clone.
        let _ = source.parent().map(fs::remove_dir);
        return Err(match error {
            SetupError::Build { tail, .. } if tail.contains("Remote branch") => {
                SetupError::NoSuchVersion {
                    repo: wanted.repo.clone(),
                    tag: wanted.tag.clone(),
                }
            }
            other => network_or_build(other),
        });
    }
    partial.finish()
}

fn compile(runner: &mut Runner<'_>, source: &Path, build: &Path) -> Result<(), SetupError> {
    let (kernels, preset) = (source.join(KERNELS), source.join(PRESET_KERNELS));
    if !kernels.exists() && preset.exists() {
        fs::copy(preset, &kernels).map_err(|e| SetupError::io("write", kernels, e))?;
    }
    let partial = Partial::beside(build)?;
    let mut configure = Command::new("cmake");
    configure
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(partial.path())
        .args(["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF"])
        // Shared libraries that it builds all the same are found from where they end up.
        .arg("-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON");
    // bitnet.cpp is written for clang, which the environment can overrule.
    if std::env::var_os("CC").is_none() && tools::find("clang").is_some() {
        configure.args(["-DCMAKE_C_COMPILER=clang", "-DCMAKE_CXX_COMPILER=clang++"]);
    }
    runner.run("configure", &mut configure)?;
    let mut help = reference::compile(partial.path(), Some("help"));
    let targets = runner.run("list its targets", &mut help)?;
    let has_target = targets
        .split_whitespace()
        .any(|word| word.trim_end_matches(':') == TARGET);
    runner.run(
        "compile",
        &mut reference::compile(partial.path(), has_target.then_some(TARGET)),
    )?;
    partial.finish()
}

/// The built program, by either of its names, the shallowest first.
fn find_program(build: &Path) -> Option<PathBuf> {
    let names = [TARGET, PROGRAM].map(|name| format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let mut level = vec![build.to_owned()];
    while !level.is_empty() {
        let mut paths: Vec<_> = level
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        let is_it = |path: &&PathBuf| {
            path.is_file()
                && path
                    .file_name()
                    .is_some_and(|file| names.iter().any(|name| file == name.as_str()))
        };
        if let Some(found) = paths.iter().find(is_it) {
            return Some(found.clone());
        }
        level = paths
            .into_iter()
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
    }
    None
}

/// Makes `program` name `built`: a link where there are links, so that shared libraries beside it
/// are still found.
fn publish(built: &Path, program: &Path) -> Result<(), SetupError> {
    let failed = |e| SetupError::io("write", program, e);
    match fs::remove_file(program) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(built, program).map_err(failed)?;
    #[cfg(not(unix))]
    fs::copy(built, program).map_err(failed)?;
    Ok(())
}

/// Runs the program for its version: the proof that it runs at all.
fn version_of(program: &Path) -> Result<String, SetupError> {
    let unusable = |problem| SetupError::Unusable {
        reference: "the reference",
        problem,
    };
    let output = Command::new(program)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| unusable(format!("{} does not start: {error}", program.display())))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.success() {
        return Ok(said
            .lines()
            .next()
            .unwrap_or("no version")
            .trim()
            .to_owned());
    }
    let program = program.display();
    Err(unusable(format!(
        "{program} --version ended with {}: {}",
        output.status,
        said.trim()
    )))
}
