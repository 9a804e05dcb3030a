//! Tokens that end generation.

/// Names of tokens that end generation wherever they occur, as llama.cpp takes them.
const END_OF_GENERATION: [&str; 17] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
];

/// The ids that end generation: those that the file names, and those with a name that says so.
pub(crate) fn end_of_generation(named: &[Option<u32>], texts: &[String]) -> Vec<u32> {
    let by_name = texts
        .iter()
        .enumerate()
        .filter(|(_, text)| END_OF_GENERATION.contains(&text.as_str()));
    let mut ids: Vec<u32> = by_name
        .map(|(id, _)| id as u32)
        .chain(named.iter().flatten().copied())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
