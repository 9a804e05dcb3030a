//! Conversations in files: JSON lists of messages.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use bitnet_engine::chat_templates::Json;

use crate::output;

/// Reads a JSON list; `-` is standard input. `what` names it in errors.
pub(crate) fn list(path: &Path, what: &str) -> Result<Vec<Json>> {
    let text = match path.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        _ => bitnet_files::read_to_string(path),
    };
    let text = text.with_context(|| format!("{what} {}", path.display()))?;
    let parsed = Json::parse(text.trim_start_matches('\u{feff}'))
        .with_context(|| format!("{what} {}", path.display()))?;
    match parsed {
        Json::List(items) => Ok(items),
        other => Err(anyhow!(
            "{what} {}: {} instead of a list",
            path.display(),
            other.kind()
        )),
    }
}

/// Reads a conversation that was saved.
pub(crate) fn load(path: &Path) -> Result<Vec<Json>> {
    if path.exists() && !path.is_file() {
        bail!("{} is no file", path.display());
    }
    let messages = list(path, "conversation")?;
    for (message, number) in messages.iter().zip(1..) {
        if message.text_at("role").is_none() {
            bail!(
                "conversation {}: message {number} has no role",
                path.display()
            );
        }
    }
    Ok(messages)
}

/// Writes a conversation, as [`load`] reads it. What is there and no conversation stays.
pub(crate) fn save(path: &Path, messages: &[Json]) -> Result<()> {
    let named = || format!("conversation {}", path.display());
    let mut file = output::replace(path, "conversation", |there| load(there).is_ok())?;
    serde_json::to_writer_pretty(&mut file, messages)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(file))
        .and_then(|()| file.commit())
        .with_context(named)
}
