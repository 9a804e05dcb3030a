//! Continues a prompt: `generate [MODEL] [PROMPT]`.

use std::io::Write;

use bitnet_engine::{Engine, GenerateOptions, LoadOptions, Sampling};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("demo/demo.gguf".to_owned());
    let prompt = arguments.next().unwrap_or("ROMEO:\n".to_owned());

    let engine = Engine::open(model, &LoadOptions::default())?;
    let sampling = Sampling::default().temperature(0.7).seed(1);
    let options = GenerateOptions::default()
        .max_tokens(48)
        .sampling(sampling)
        .stop("JULIET:");
    let mut generation = engine.generate(prompt, &options)?;
    for piece in &mut generation {
        print!("{}", piece?.text);
        std::io::stdout().flush()?;
    }
    let generated = generation.generated();
    println!("\n{} tokens, {:?}", generated.tokens.len(), generated.stop);
    Ok(())
}
