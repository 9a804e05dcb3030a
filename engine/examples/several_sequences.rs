//! Continues several prompts side by side, a token of each in one pass: `several_sequences
//! [MODEL]`.

use bitnet_engine::{Engine, LoadOptions, Output, Session, Want};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or("demo/demo.gguf".to_owned());
    let engine = Engine::open(model, &LoadOptions::default())?;
    let mut out = Output::default();

    let mut sessions: Vec<Session> = Vec::new();
    let mut texts: Vec<Vec<u32>> = Vec::new();
    let mut next: Vec<u32> = Vec::new();
    for prompt in ["ROMEO:\n", "JULIET:\n", "What is"] {
        let tokens = engine.encode(prompt)?.tokens;
        let mut session = engine.model().session(tokens.len() + 24)?;
        session.feed(&tokens, Want::Top(1), &mut out)?;
        next.push(out.top[0].id);
        sessions.push(session);
        texts.push(tokens);
    }
    for _ in 0..24 {
        for (text, token) in texts.iter_mut().zip(&next) {
            text.push(*token);
        }
        let model = engine.model();
        model.step(&mut sessions, &next, Want::Top(1), &mut out)?;
        next.clear();
        next.extend(out.top.iter().map(|best| best.id));
    }
    for text in &texts {
        println!("{}\n", engine.tokenizer().decode(text));
    }
    Ok(())
}
