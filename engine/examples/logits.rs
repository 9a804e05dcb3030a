//! Shows the most likely tokens after each token of a text: `logits [MODEL] [TEXT]`.

use bitnet_engine::{Engine, LoadOptions, Output, Want};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("demo/demo.gguf".to_owned());
    let text = arguments.next().unwrap_or("What light".to_owned());

    let engine = Engine::open(model, &LoadOptions::default())?;
    let tokens = engine.encode(text)?.tokens;
    let mut session = engine.model().session(tokens.len())?;
    let mut out = Output::default();
    for token in &tokens {
        session.feed(&[*token], Want::Top(3), &mut out)?;
        print!("{:?} ->", engine.tokenizer().decode(&[*token]));
        for best in &out.top {
            let text = engine.tokenizer().decode(&[best.id]);
            print!(" {text:?} {:.2}", best.logit);
        }
        println!();
    }

    // All logits behind every token, in as few passes as there can be.
    session.truncate(0);
    session.feed_all(&tokens, |at, logits| {
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        println!("token {at}: {} logits, mean {mean:.3}", logits.len());
    })?;
    Ok(())
}
