//! Holds a conversation, a line of standard input at a time: `chat [MODEL]`.

use std::io::{BufRead, Write};

use bitnet_engine::{ChatOptions, Engine, GenerateOptions, LoadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = std::env::args().nth(1);
    let model = model.unwrap_or("demo/demo.gguf".to_owned());

    let engine = Engine::open(model, &LoadOptions::default())?;
    let answers = GenerateOptions::default().max_tokens(32);
    let mut chat = engine.chat(ChatOptions::default().answers(answers))?;
    for line in std::io::stdin().lock().lines() {
        for piece in chat.say(&line?)? {
            print!("{}", piece?.text);
            std::io::stdout().flush()?;
        }
        println!("\n[{} of {} tokens]", chat.len(), chat.capacity());
    }
    Ok(())
}
