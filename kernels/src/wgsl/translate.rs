//! A shader in the languages of the drivers, by naga's back ends: what the device will really be
//! given.

use std::fmt::Display;

use naga::back::{hlsl, msl, pipeline_constants, spv};

use super::shader::{Shader, ShaderError};

/// A language that shaders are translated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// SPIR-V, for Vulkan.
    Spv,
    /// The Metal shading language.
    Msl,
    /// HLSL, for Direct3D 12.
    Hlsl,
    /// The generated text itself.
    Wgsl,
}

impl Language {
    /// Every language.
    pub const ALL: [Language; 4] = [Language::Spv, Language::Msl, Language::Hlsl, Language::Wgsl];

    /// The name, which is also how files end.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Spv => "spv",
            Language::Msl => "msl",
            Language::Hlsl => "hlsl",
            Language::Wgsl => "wgsl",
        }
    }
}

/// The shader in another language. Pipeline constants get the sizes of a small model.
///
/// # Errors
/// [`ShaderError::Translate`] with what naga says.
pub fn translate(shader: &Shader, language: Language) -> Result<Vec<u8>, ShaderError> {
    let fail = |problem: &dyn Display| ShaderError::Translate {
        kernel: shader.kernel.name(),
        problem: problem.to_string(),
    };
    if language == Language::Wgsl {
        return Ok(shader.source.clone().into_bytes());
    }
    let constants = shader
        .constants
        .iter()
        .map(|name| (name.clone(), sample(name)))
        .collect();
    let (module, info) =
        pipeline_constants::process_overrides(&shader.module, &shader.info, None, &constants)
            .map_err(|error| fail(&error))?;
    match language {
        Language::Spv => {
            let options = spv::Options {
                lang_version: (1, 3),
                ..spv::Options::default()
            };
            let words =
                spv::write_vec(&module, &info, &options, None).map_err(|error| fail(&error))?;
            Ok(words.into_iter().flat_map(u32::to_le_bytes).collect())
        }
        Language::Msl => {
            let options = msl::Options {
                lang_version: (2, 4),
                fake_missing_bindings: true,
                ..msl::Options::default()
            };
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                .map(|(text, _)| text.into_bytes())
                .map_err(|error| fail(&error))
        }
        Language::Hlsl => {
            let options = hlsl::Options {
                shader_model: hlsl::ShaderModel::V6_4,
                ..hlsl::Options::default()
            };
            let pipeline = hlsl::PipelineOptions::default();
            let mut text = String::new();
            hlsl::Writer::new(&mut text, &options, &pipeline)
                .write(&module, &info, None)
                .map_err(|error| fail(&error))?;
            Ok(text.into_bytes())
        }
        Language::Wgsl => unreachable!("returned above"),
    }
}

fn sample(constant: &str) -> f64 {
    match constant {
        "SECOND" => 128.0,
        "THIRD" => 192.0,
        "HEADS" => 4.0,
        "KV_HEADS" => 2.0,
        "HEAD_DIM" | "DIMS" => 64.0,
        "EPS" => 1e-5,
        "SCALE" => 0.125,
        _ => 256.0,
    }
}
