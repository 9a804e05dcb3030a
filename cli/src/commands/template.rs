//! `bitnet template`: what would be sent to a model for a conversation.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use bitnet_engine::chat_templates::{
    ChatTemplate, ControlTokens, Conversation, FAMILIES, Family, Json, Rendered, Tokens,
};
use bitnet_engine::gguf::Shown;
use bitnet_engine::{Error, ModelTemplate};
use bitnet_process::note;

use crate::{messages, source, warnings};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file; without it and without a template, the model that `run` would take
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Tokenizer file, instead of the model's own
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Template to use instead of the model's: a file, or the name of a family
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
    /// JSON list of messages, each with a role and a content; `-` for standard input
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// JSON list of tools
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// A name that the template sees, with its value as JSON
    #[arg(long = "variable", value_name = "NAME=JSON", value_parser = variable)]
    variables: Vec<(String, Json)>,
    /// End the text behind the last message, not where the model begins to answer
    #[arg(long)]
    no_generation_prompt: bool,
    /// `bos_token` of the template, instead of the vocabulary's
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    bos_token: Option<String>,
    /// `eos_token` of the template, instead of the vocabulary's
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    eos_token: Option<String>,
    /// Print the ids of the tokens that would be sent, instead of the text
    #[arg(long)]
    ids: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let mut conversation = Conversation::new(messages::list(&args.messages, "messages")?);
    if let Some(tools) = &args.tools {
        conversation.tools = Some(messages::list(tools, "tools")?);
    }
    conversation.variables = args.variables.iter().cloned().collect();
    conversation.add_generation_prompt = !args.no_generation_prompt;
    let tokens = Tokens {
        bos: args.bos_token.clone(),
        eos: args.eos_token.clone(),
        ..Tokens::default()
    };

    let given = args.template_file.as_deref();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match (given, &args.model) {
        (Some(given), None) => {
            if args.ids {
                bail!("--ids needs the vocabulary of a model; give one with --model");
            }
            let rendered = without_model(given, &conversation, tokens)?;
            out.write_all(rendered.text.as_bytes())
        }
        _ => {
            let opened = source::open(args.model.as_deref())?;
            let tokenizer = opened.tokenizer(args.tokenizer.as_deref())?;
            let (file, path) = (&opened.gguf, opened.path());
            let template = match given.map(source_of).transpose()? {
                Some(Given::Family(family)) => {
                    ModelTemplate::of_family(family, Some(file), &tokenizer)
                }
                Some(Given::Source(source)) => {
                    ModelTemplate::given(&source, Some(file), &tokenizer)
                }
                None => ModelTemplate::find(file, path, &tokenizer, conversation.tools.is_some()),
            };
            let template = template.map_err(|error| match error {
                // What other commands advise is no flag of this one.
                Error::NoTemplate(why) => {
                    anyhow!(
                        "model {}: {why}; name a family or the file of one with --template-file",
                        opened.name()
                    )
                }
                error => anyhow::Error::from(error).context(format!("model {}", opened.name())),
            })?;
            let template = template.with_tokens(tokens);
            note!("template: {}", Shown(&template.evidence().to_string()));
            for doubt in tokenizer.template_warnings(template.source()) {
                warnings::warn(doubt)?;
            }
            let encoded = template.encode(&conversation, &tokenizer)?;
            warn_of_left_out(template.left_out(&conversation, &encoded.rendered))?;
            warnings::of_marks(encoded.rendered.altered_by_marks)?;
            if args.ids {
                let ids: Vec<String> = encoded.tokens.iter().map(u32::to_string).collect();
                writeln!(out, "{}", ids.join(" "))
            } else {
                out.write_all(encoded.rendered.text.as_bytes())
            }
        }
    };
    written
        .and_then(|()| out.flush())
        .context("standard output")?;
    Ok(0)
}

/// What the user names as a template.
enum Given {
    Family(&'static Family),
    Source(String),
}

/// A family by its name, unless there is such a file.
fn source_of(given: &Path) -> Result<Given> {
    let family = given
        .to_str()
        .and_then(Family::named)
        .filter(|_| !given.exists());
    match family {
        Some(family) => Ok(Given::Family(family)),
        None => {
            let source = bitnet_files::read_to_string(given).with_context(|| {
                let families = FAMILIES.iter().map(|family| family.name);
                format!(
                    "template {}, which is none of the families {}",
                    given.display(),
                    families.collect::<Vec<_>>().join(", ")
                )
            });
            Ok(Given::Source(source?))
        }
    }
}

/// A template alone: without a vocabulary there are no control tokens to set apart.
fn without_model(given: &Path, conversation: &Conversation, tokens: Tokens) -> Result<Rendered> {
    let (source, of_family) = match source_of(given)? {
        Given::Family(family) => (family.source.to_owned(), family.tokens()),
        Given::Source(source) => (source, Tokens::default()),
    };
    let template = ChatTemplate::compile(&source, tokens.or(of_family))?;
    let rendered = template.render(conversation, &ControlTokens::default())?;
    warn_of_left_out(template.left_out(conversation, &rendered))?;
    Ok(rendered)
}

fn warn_of_left_out(part: Option<String>) -> Result<()> {
    part.map_or(Ok(()), |part| warnings::warn(Error::LeftOut { part }))
}

fn variable(text: &str) -> Result<(String, Json), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write NAME=JSON, such as thinking=false")?;
    let value = Json::parse(value).map_err(|error| {
        format!("{value:?} is not JSON ({error}); a text is written in quotes, NAME='\"text\"'")
    })?;
    Ok((name.to_owned(), value))
}
