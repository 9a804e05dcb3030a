//! Holds a conversation, a line of standard input at a time: `chat [MODEL [TEMPLATE]]`. The
//! template is the model's own where it brings one.

use std::io::{BufRead, Write};

use bitnet_engine::{ChatOptions, Engine, GenerateOptions, LoadOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or("demo/demo.gguf".to_owned());
    let template = arguments.next().unwrap_or("auto".to_owned()).parse()?;

    let engine = Engine::open(model, &LoadOptions::default())?;
    let answers = GenerateOptions::default().max_tokens(32);
    let options = ChatOptions::default().template(template).answers(answers);
    let mut chat = engine.chat(options)?;
    for line in std::io::stdin().lock().lines() {
        for piece in chat.say(&line?)? {
            print!("{}", piece?.text);
            std::io::stdout().flush()?;
        }
        println!("\n[{} of {} tokens]", chat.len(), chat.capacity());
    }
    Ok(())
}
