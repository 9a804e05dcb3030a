//! Control tokens, known by their names: those that end an answer, and those that mark turns.
//!
//! Files type them as they please. A marker that is typed as text would let what a user writes end
//! a turn, or send what a template writes as text.

/// Names of tokens that end generation wherever they occur, as llama.cpp takes them.
const END_OF_GENERATION: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
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
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Names of tokens that end what a model fills in between two parts of a file: padding, and the
/// beginning of another file or repository.
const FILL_IN_MIDDLE_END: &[&str] = &[
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Names of tokens that begin a text or mark whose turn it is.
const TURN: &[&str] = &[
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|im_start|>",
    "<start_of_turn>",
    "<|turn>",
    "<|startoftext|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜hy_begin▁of▁sentence｜>",
    "<｜hy_User｜>",
    "<｜hy_Assistant｜>",
    // Behind what Hunyuan answers, and behind what it is told first.
    "<｜hy_place▁holder▁no▁2｜>",
    "<｜hy_place▁holder▁no▁3｜>",
];

/// Whether the lists are worth a look: how all their names begin.
fn may_be_listed(text: &str) -> bool {
    text.starts_with(['<', '[', '_'])
}

/// Whether a token of this name is a control token, whatever its file says.
pub(crate) fn is_control(text: &str) -> bool {
    may_be_listed(text)
        && [END_OF_GENERATION, FILL_IN_MIDDLE_END, TURN]
            .iter()
            .any(|names| names.contains(&text))
}

/// Ascending ids that end generation: those that the file names, and those with a name that says
/// so.
pub(crate) fn end_of_generation(named: &[Option<u32>], texts: &[String]) -> Vec<u32> {
    let listed = |text: &str| {
        let names = [END_OF_GENERATION, FILL_IN_MIDDLE_END];
        may_be_listed(text) && names.iter().any(|names| names.contains(&text))
    };
    let by_name = texts.iter().zip(0_u32..);
    let mut found: Vec<u32> = by_name
        .filter(|(text, _)| listed(text))
        .map(|(_, id)| id)
        .collect();
    let has = |name: &str| found.iter().any(|id| texts[*id as usize] == name);
    // There, these end a part of an answer (o200k_harmony, solar-open) or are text (Gemma 4,
    // PLaMo).
    let part = (has("<|return|>") && has("<|call|>"))
        || ((has("<|call|>") || has("<|calls|>")) && has("<|flush|>"));
    let text = has("<|tool_response>") || texts.iter().any(|text| text == "<|plamo:eos|>");
    found.retain(|id| match texts[*id as usize].as_str() {
        "<|end|>" => !part,
        "</s>" => !text,
        _ => true,
    });
    found.extend(named.iter().flatten());
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(texts: &[&str]) -> Vec<u32> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        end_of_generation(&[Some(0)], &texts)
    }

    #[test]
    fn every_name_of_an_end_ends_an_answer_where_it_means_one() {
        assert_eq!(end(&["a", "<|eot_id|>", "b", "<|file_sep|>"]), [0, 1, 3]);
        assert_eq!(end(&["a", "<|end|>"]), [0, 1]);
        let harmony = ["a", "<|return|>", "<|call|>", "<|end|>"];
        assert_eq!(end(&harmony), [0, 1, 2]);
        assert_eq!(end(&["a", "</s>", "<|tool_response>"]), [0, 2]);
    }

    #[test]
    fn ends_and_turns_are_control_and_words_are_not() {
        for name in [
            "<|eot_id|>",
            "</s>",
            "<|im_start|>",
            "<end_of_turn>",
            "<|fim_pad|>",
            "<｜hy_Assistant｜>",
        ] {
            assert!(is_control(name), "{name}");
        }
        let all = [END_OF_GENERATION, FILL_IN_MIDDLE_END, TURN].concat();
        assert!(all.into_iter().all(is_control));
        for name in ["a", "<div>", "<|channel|>", ""] {
            assert!(!is_control(name), "{name}");
        }
    }
}
