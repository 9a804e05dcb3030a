//! How each reference is built from its pinned source: which part of the package, which patches,
//! compilers and switches.
//!
//! The logits of the golden files came from builds like these; another compiler or switch gives
//! other bits.

use bitnet_crossval::lane::Lane;

/// One patch that the package carries.
#[derive(Debug)]
pub(super) struct Patch {
    /// The file, in the package.
    pub(super) file: &'static str,
    /// The folder that its paths start from, in the package.
    pub(super) folder: &'static str,
    /// Files of the patch that the package lacks.
    pub(super) exclude: &'static [&'static str],
}

/// How to build one reference.
#[derive(Debug)]
pub(super) struct Recipe {
    /// The package of cargo's registry that carries the source.
    pub(super) package: &'static str,
    /// The CMake project, in the package.
    pub(super) project: &'static str,
    /// What to apply first, in order.
    pub(super) patches: &'static [Patch],
    /// The C and the C++ compiler.
    pub(super) compilers: [&'static str; 2],
    /// What is given to CMake besides.
    pub(super) switches: &'static [&'static str],
}

/// The library alone.
const TARGET: &str = "llama";

impl Recipe {
    /// The recipe of a lane whose reference is a C++ library.
    pub(super) fn of(lane: Lane) -> Option<&'static Self> {
        match lane {
            Lane::BitnetCpp => Some(&BITNET_CPP),
            Lane::LlamaCpp => Some(&LLAMA_CPP),
            Lane::Transformers => None,
        }
    }

    /// Arguments of the CMake call that configures, after the folders.
    pub(super) fn configure(&self) -> Vec<String> {
        let [c, cxx] = self.compilers;
        let mut arguments = vec![
            "-DCMAKE_BUILD_TYPE=Release".to_owned(),
            format!("-DCMAKE_C_COMPILER={c}"),
            format!("-DCMAKE_CXX_COMPILER={cxx}"),
        ];
        arguments.extend(self.switches.iter().map(|switch| format!("-D{switch}")));
        arguments
    }

    /// The target that CMake builds.
    pub(super) fn target(&self) -> &'static str {
        TARGET
    }

    /// How the source is built as text, for the fingerprint. The package has a checksum for that.
    pub(super) fn text(&self) -> String {
        let Self {
            package: _,
            project,
            patches,
            compilers,
            switches,
        } = self;
        format!(
            "Recipe {{ project: {project:?}, patches: {patches:?}, compilers: {compilers:?}, \
             switches: {switches:?} }} {TARGET}"
        )
    }
}

/// The package's own build script switches TL2 on for x86-64, and ships the header of TL1.
const BITNET_CPP: Recipe = Recipe {
    package: "bitnet-cpp-sys",
    project: "bitnet",
    patches: &[
        Patch {
            file: "patches/llama.cpp.patch",
            folder: "bitnet/3rdparty/llama.cpp",
            exclude: &[],
        },
        Patch {
            file: "patches/bitnet.patch",
            folder: "bitnet",
            exclude: &["setup_env.py"],
        },
    ],
    compilers: ["clang", "clang++"],
    switches: &[
        "BITNET_X86_TL2=OFF",
        "BUILD_SHARED_LIBS=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        "LLAMA_BUILD_SERVER=OFF",
        "LLAMA_BUILD_COMMON=OFF",
        "GGML_OPENMP=OFF",
        "LLAMA_ALL_WARNINGS=OFF",
    ],
};

const LLAMA_CPP: Recipe = Recipe {
    package: "llama-cpp-sys-2",
    project: "llama.cpp",
    patches: &[],
    compilers: ["gcc", "g++"],
    switches: &[
        "BUILD_SHARED_LIBS=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        "LLAMA_BUILD_SERVER=OFF",
        "LLAMA_BUILD_COMMON=OFF",
        "LLAMA_BUILD_TOOLS=OFF",
        "LLAMA_BUILD_APP=OFF",
        "LLAMA_OPENSSL=OFF",
        "GGML_OPENMP=OFF",
        "LLAMA_ALL_WARNINGS=OFF",
    ],
};
