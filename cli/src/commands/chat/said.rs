//! What a person can type: a text for the model, or a command.

use std::path::PathBuf;

/// A text for the model, or a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    Command(Command),
}

/// What is done with the conversation instead of going on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    /// What the system says: shown without a text, changed to it, or taken out with an empty one.
    System(Option<String>),
    Reset,
    Undo,
    Regenerate,
    Save(PathBuf),
    Load(PathBuf),
    /// The template: shown, or changed.
    Template(Option<String>),
    Stats,
    Exit,
}

/// A command as it is typed.
pub(super) struct Row {
    /// Its name, with the slash.
    pub(super) name: &'static str,
    /// What follows the name.
    pub(super) argument: &'static str,
    /// What it does.
    pub(super) does: &'static str,
    read: fn(&str) -> Option<Command>,
}

const fn row(
    name: &'static str,
    argument: &'static str,
    does: &'static str,
    read: fn(&str) -> Option<Command>,
) -> Row {
    Row {
        name,
        argument,
        does,
        read,
    }
}

/// Every command.
pub(super) static COMMANDS: [Row; 10] = [
    row("/help", "", "Show this list", |argument| {
        argument.is_empty().then_some(Command::Help)
    }),
    row(
        "/system",
        "[TEXT]",
        "Show what the system says, or change it; \"\" takes it out",
        |argument| {
            Some(Command::System(match argument {
                "" => None,
                "\"\"" => Some(String::new()),
                text => Some(text.to_owned()),
            }))
        },
    ),
    row(
        "/reset",
        "",
        "Forget all but what the system says",
        |argument| argument.is_empty().then_some(Command::Reset),
    ),
    row(
        "/undo",
        "",
        "Take back the last question and its answer",
        |argument| argument.is_empty().then_some(Command::Undo),
    ),
    row(
        "/regenerate",
        "",
        "Answer the last question again",
        |argument| argument.is_empty().then_some(Command::Regenerate),
    ),
    row(
        "/save",
        "FILE",
        "Write the conversation as JSON, as `bitnet template --messages` reads it",
        |argument| Some(Command::Save(file(argument)?)),
    ),
    row(
        "/load",
        "FILE",
        "Go on with a conversation that was saved",
        |argument| Some(Command::Load(file(argument)?)),
    ),
    row(
        "/template",
        "[TEMPLATE]",
        "Show the template, or use another, named as for --prompt-template",
        |argument| {
            let named = (!argument.is_empty()).then(|| argument.to_owned());
            Some(Command::Template(named))
        },
    ),
    row(
        "/stats",
        "",
        "Show the context, and the speed of the last answer",
        |argument| argument.is_empty().then_some(Command::Stats),
    ),
    row("/exit", "", "Leave, as Ctrl-D does", |argument| {
        argument.is_empty().then_some(Command::Exit)
    }),
];

fn file(argument: &str) -> Option<PathBuf> {
    (!argument.is_empty()).then(|| PathBuf::from(argument))
}

/// Reads what was typed.
///
/// # Errors
/// What is wrong with a command, in words.
pub(super) fn read(typed: &str) -> Result<Said, String> {
    let Some(command) = typed.strip_prefix('/') else {
        return Ok(Said::Text(typed.to_owned()));
    };
    if command.starts_with('/') {
        return Ok(Said::Text(command.to_owned()));
    }
    let (name, argument) = match typed.split_once(char::is_whitespace) {
        Some((name, argument)) => (name, argument.trim()),
        None => (typed, ""),
    };
    let row = COMMANDS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| {
        format!("unknown command `{name}`; /help lists them, and /{name} sends it as text")
    })?;
    let command = (row.read)(argument).ok_or_else(|| match row.argument {
        "" => format!("{name} is written alone"),
        wanted => format!("write {name} {wanted}"),
    })?;
    Ok(Said::Command(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_begin_with_one_slash_and_texts_with_none_or_two() {
        let text = |text: &str| Ok(Said::Text(text.to_owned()));
        let command = |command| Ok(Said::Command(command));
        assert_eq!(read("a /help"), text("a /help"));
        assert_eq!(read("//help"), text("/help"));
        assert_eq!(read("///"), text("//"));
        assert_eq!(read("/help"), command(Command::Help));
        assert_eq!(read("/exit "), command(Command::Exit));
        let system = Some("Be brief.\nBe kind.".to_owned());
        assert_eq!(
            read("/system  Be brief.\nBe kind."),
            command(Command::System(system))
        );
        assert_eq!(read("/system"), command(Command::System(None)));
        let file = "my chat.json".into();
        assert_eq!(read("/save my chat.json"), command(Command::Save(file)));
    }

    #[test]
    fn what_is_no_command_is_said() {
        let error = |typed: &str| read(typed).unwrap_err();
        let unknown = error("/frobnicate now");
        assert!(unknown.contains("`/frobnicate`") && unknown.contains("//frobnicate"));
        assert_eq!(error("/reset all"), "/reset is written alone");
        assert_eq!(error("/save"), "write /save FILE");
    }

    #[test]
    fn every_command_is_read_by_its_name() {
        for row in &COMMANDS {
            let argument = if row.argument == "FILE" { " x" } else { "" };
            let read = read(&format!("{}{argument}", row.name));
            assert!(matches!(read, Ok(Said::Command(_))), "{}", row.name);
        }
    }
}
