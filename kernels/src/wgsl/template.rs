//! Text with holes: `${NAME}`, `#include PATH` and `#if NAME` / `#else` / `#endif`, each on a line
//! of its own.

use std::collections::BTreeMap;

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shaders/{file}:{line}: {problem}")]
pub struct TemplateError {
    /// The file below `shaders/`.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// A source below `shaders/`, built into the program.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    path: &'static str,
    text: &'static str,
}

/// The [`Source`] at a path.
macro_rules! source {
    ($path:literal) => {
        $crate::wgsl::template::Source::new(
            $path,
            include_str!(concat!("../../../shaders/", $path)),
        )
    };
}
pub(super) use source;

impl Source {
    pub(super) const fn new(path: &'static str, text: &'static str) -> Source {
        Source { path, text }
    }
}

/// What sources include.
const SHARED: &[Source] = &[
    source!("shared/activate.wgsl"),
    source!("shared/activations.wgsl"),
    source!("shared/cache.wgsl"),
    source!("shared/candidate.wgsl"),
    source!("shared/dot.wgsl"),
    source!("shared/encode_row.wgsl"),
    source!("shared/exact.wgsl"),
    source!("shared/expert.wgsl"),
    source!("shared/finish_gemv.wgsl"),
    source!("shared/float.wgsl"),
    source!("shared/gemv.wgsl"),
    source!("shared/inputs.wgsl"),
    source!("shared/minima.wgsl"),
    source!("shared/piece.wgsl"),
    source!("shared/q6_k.wgsl"),
    source!("shared/reduce.wgsl"),
    source!("shared/rope_store.wgsl"),
    source!("shared/row_sum.wgsl"),
    source!("shared/store.wgsl"),
    source!("shared/rotate.wgsl"),
    source!("shared/extent.wgsl"),
];

/// The text of `source` with its holes filled from `holes`. `#if` holds for a name that `holes`
/// contains.
///
/// # Errors
/// An included file, a hole or an `#endif` that is not there.
pub fn expand(source: Source, holes: &BTreeMap<&str, String>) -> Result<String, TemplateError> {
    let mut out = String::new();
    append(source, holes, &mut out)?;
    Ok(out)
}

fn append(
    source: Source,
    holes: &BTreeMap<&str, String>,
    out: &mut String,
) -> Result<(), TemplateError> {
    let fail = |line: usize, problem: String| TemplateError {
        file: source.path.to_owned(),
        line: line + 1,
        problem,
    };
    // For each open #if: whether its lines are taken.
    let mut open: Vec<bool> = Vec::new();
    let mut last = 0;
    for (number, line) in source.text.lines().enumerate() {
        last = number;
        let directive = line.strip_prefix('#').and_then(|rest| {
            let mut words = rest.split_whitespace();
            Some((words.next()?, words.next()))
        });
        match directive {
            Some(("if", Some(name))) => open.push(holes.contains_key(name)),
            Some(("else", None)) => match open.last_mut() {
                Some(taken) => *taken = !*taken,
                None => return Err(fail(number, "#else without #if".to_owned())),
            },
            Some(("endif", None)) => {
                if open.pop().is_none() {
                    return Err(fail(number, "#endif without #if".to_owned()));
                }
            }
            _ if open.contains(&false) => {}
            Some(("include", Some(path))) => {
                let shared = SHARED.iter().find(|shared| shared.path == path);
                let shared = shared.ok_or_else(|| fail(number, format!("there is no {path}")))?;
                append(*shared, holes, out)?;
            }
            Some((other, _)) => {
                return Err(fail(number, format!("unknown directive #{other}")));
            }
            None => {
                fill(line, holes, out).map_err(|problem| fail(number, problem))?;
                out.push('\n');
            }
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(fail(last, "#if without #endif".to_owned()))
    }
}

fn fill(line: &str, holes: &BTreeMap<&str, String>, out: &mut String) -> Result<(), String> {
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .split_once('}')
            .ok_or_else(|| "a hole without end".to_owned())?;
        out.push_str(before);
        out.push_str(
            holes
                .get(name)
                .ok_or_else(|| format!("nothing fills the hole {name}"))?,
        );
        rest = after;
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfilled_hole_is_named_with_its_place() {
        let error = expand(source!("ternary_gemv.wgsl"), &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shaders/ternary_gemv.wgsl:1: nothing fills the hole LANES"
        );
    }

    #[test]
    fn an_include_of_nothing_is_named_with_its_place() {
        let source = Source::new("some.wgsl", "// One\n#include nowhere.wgsl\n");
        let error = expand(source, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "shaders/some.wgsl:2: there is no nowhere.wgsl"
        );
    }
}
