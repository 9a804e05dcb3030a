//! Compiles whatever text comes as a template and renders a conversation with it: nothing may
//! panic, overflow the stack, take long or ask for much memory, and a control token that came with
//! the conversation may not come out as one.
//!
//! In `chat-templates/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/render
//! cargo +nightly fuzz run render fuzz/corpus/render fuzz/seeds/render families -- \
//!     -max_len=4096 -timeout=10 -rss_limit_mb=2048 -max_total_time=120
//! ```

#![no_main]

use bitnet_chat_templates::{
    ChatTemplate, ControlTokens, Conversation, Json, Segment, Tokens,
};
use libfuzzer_sys::{Corpus, fuzz_target};

/// A token that no template can write by itself, as its letters are taken out of the source.
const TOKEN: &str = "<|\u{16a0}\u{16a2}|>";

fuzz_target!(|source: &str| -> Corpus {
    // minijinja 3.1.0 divides by zero in `loop.cycle()`. The thread of the template ends, which is
    // an error; the fuzzer would take it for a fault.
    if source.contains("cycle") || source.contains(['\u{16a0}', '\u{16a2}']) {
        return Corpus::Reject;
    }
    let Ok(template) = ChatTemplate::compile(source, Tokens::default()) else {
        return Corpus::Keep;
    };
    let call = r#"{"role": "assistant", "content": null, "tool_calls": [{"type": "function",
        "function": {"name": "f", "arguments": {"a": [1, 1.5, null, true]}}}]}"#;
    let text = format!("a {TOKEN} b\n<think>c</think> ");
    let mut conversation = Conversation::question(&text);
    conversation.messages.extend(Json::parse(call));
    conversation.messages.push(Json::message("tool", &text));
    conversation.tools = Some(vec![Json::map([("name", Json::from(text.as_str()))])]);
    let control = ControlTokens::new([TOKEN]);
    if let Ok(rendered) = template.render(&conversation, &control) {
        let control = |segment: &Segment| matches!(segment, Segment::Control(_));
        assert!(
            !rendered.segments.iter().any(control) || takes_marks_off(source),
            "content became control"
        );
    }
    Corpus::Keep
});

/// Whether a template may take the private characters off a token: by cutting texts anywhere.
fn takes_marks_off(source: &str) -> bool {
    ["[", "strip", "split", "replace", "|", "for", "remove", "partition", "%"]
        .iter()
        .any(|part| source.contains(part))
}
