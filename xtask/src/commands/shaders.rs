//! `xtask shaders`: the GPU kernels as they are generated, committed so that a change of a source
//! shows what it does to each kernel, and written in the languages of the drivers for those who
//! want to read them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use bitnet_kernels::wgsl::{Language, Target, generate, permutations, translate};
use bitnet_process::note;

use crate::Exit;

/// Flags of `xtask shaders`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not write; fail if a committed kernel differs from what would be written
    #[arg(long, conflicts_with = "emit")]
    pub check: bool,

    /// Write every permutation in this language instead of the committed kernels
    #[arg(long, value_name = "LANGUAGE", requires = "out")]
    pub emit: Option<Emit>,

    /// Where to write them
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Languages that kernels can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Emit {
    /// SPIR-V, for Vulkan
    Spv,
    /// The Metal shading language
    Msl,
    /// HLSL, for Direct3D 12
    Hlsl,
    /// The generated text itself
    Wgsl,
}

/// Where the committed kernels are: the portable permutation of each.
const SNAPSHOTS: &str = "shaders/generated";

/// Write or check the kernels.
///
/// # Errors
/// A folder cannot be read or written, or with `--check`, a kernel differs.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let folder = args.out.as_deref().unwrap_or(Path::new(SNAPSHOTS));
    let kernels = match args.emit {
        None => snapshots()?,
        Some(emit) => every(match emit {
            Emit::Spv => Language::Spv,
            Emit::Msl => Language::Msl,
            Emit::Hlsl => Language::Hlsl,
            Emit::Wgsl => Language::Wgsl,
        })?,
    };
    if args.check {
        check(folder, &kernels)?;
    } else {
        write(folder, &kernels, args.emit.is_none())?;
    }
    note!(
        "{} kernels {} {}",
        kernels.len(),
        if args.check {
            "agree with"
        } else {
            "written to"
        },
        folder.display()
    );
    Ok(Exit::Success.into())
}

/// The portable permutations by file name.
///
/// # Errors
/// A source in `shaders/` that no kernel can be made from.
pub fn snapshots() -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    permutations()
        .into_iter()
        .filter(|(_, target)| *target == Target::PORTABLE)
        .map(|(kernel, target)| {
            Ok((
                format!("{kernel}.wgsl"),
                generate(kernel, target)?.source.into_bytes(),
            ))
        })
        .collect()
}

fn every(language: Language) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    permutations()
        .into_iter()
        .map(|(kernel, target)| {
            let text = translate(&generate(kernel, target)?, language)?;
            Ok((format!("{kernel}.{target}.{}", language.name()), text))
        })
        .collect()
}

fn check(folder: &Path, kernels: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    for (name, wanted) in kernels {
        let path = folder.join(name);
        let found =
            bitnet_files::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            found == *wanted,
            "{} is out of step with its source. Run: cargo xtask shaders",
            path.display()
        );
    }
    for entry in files(folder)? {
        ensure!(
            kernels.contains_key(&entry),
            "{} is no kernel any more. Run: cargo xtask shaders",
            folder.join(entry).display()
        );
    }
    Ok(())
}

fn write(folder: &Path, kernels: &BTreeMap<String, Vec<u8>>, only: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, text) in kernels {
        let path = folder.join(name);
        bitnet_files::replace(&path, text)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for stale in
        files(folder)?.filter(|name| only && name.ends_with(".wgsl") && !kernels.contains_key(name))
    {
        let path = folder.join(stale);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<impl Iterator<Item = String> + use<>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn committed_kernels_are_in_step_with_their_sources() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders/generated");
        super::check(&folder, &super::snapshots().expect("every kernel is valid"))
            .expect("shaders/generated is in step");
    }
}
