//! [`Terminal`]: lines that are edited, with a history that outlives the program.

use std::io::{self, ErrorKind, IsTerminal};
use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_process::note;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Behavior, CompletionType, Config, Editor, Helper};

use super::said::COMMANDS;
use crate::environment;

/// Entries that the history keeps.
const HISTORY: usize = 1000;

/// What came.
pub(super) enum Input {
    Text(String),
    /// Ctrl-C, where a line was being written.
    CtrlC,
    End,
}

/// A terminal on standard input.
pub(super) struct Terminal {
    editor: Editor<Completion, FileHistory>,
    /// Where the history is kept; none where this system has no place for it.
    history: Option<PathBuf>,
}

impl Terminal {
    /// The terminal, with the history of earlier conversations where it can be read.
    pub(super) fn open() -> Result<Terminal> {
        // The prompt is no part of what is written to a file or a pipe.
        let behavior = match io::stdout().is_terminal() {
            true => Behavior::Stdio,
            false => Behavior::PreferTerm,
        };
        let config = Config::builder()
            .max_history_size(HISTORY)
            .context("history")?
            .completion_type(CompletionType::List)
            .behavior(behavior)
            .build();
        let mut editor = Editor::with_config(config).context("terminal")?;
        editor.set_helper(Some(Completion(FilenameCompleter::new())));
        let history = environment::state_folder().map(|folder| folder.join("chat_history"));
        if let Some(path) = history.as_deref().filter(|path| path.is_file())
            && let Err(error) = editor.load_history(path)
        {
            log::debug!("history {}: {error}", path.display());
        }
        Ok(Terminal { editor, history })
    }

    /// Has a line written behind `prompt`.
    pub(super) fn line(&mut self, prompt: &str) -> Result<Input> {
        let _restored = restored_before_end();
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Input::Text(line)),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(ReadlineError::Interrupted) => Ok(Input::CtrlC),
            // A byte that is no UTF-8: the line is lost, and not the conversation.
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                note!("that line is not UTF-8; write it again");
                Ok(Input::Text(String::new()))
            }
            Err(error) => Err(error).context("terminal"),
        }
    }

    /// Keeps a text in the history. Where that cannot be done, the conversation goes on.
    pub(super) fn remember(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        let added = self.editor.add_history_entry(text);
        let Some(path) = self
            .history
            .as_deref()
            .filter(|_| matches!(added, Ok(true)))
        else {
            return;
        };
        // To open a pipe there would wait for a reader.
        if path.exists() && !path.is_file() {
            return;
        }
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        let kept = folder.map_err(ReadlineError::from);
        if let Err(error) = kept.and_then(|()| self.editor.append_history(path)) {
            log::debug!("history {}: {error}", path.display());
        }
    }
}

/// Has the terminal put back as it is now if a signal ends the program while a line is edited.
#[cfg(unix)]
fn restored_before_end() -> Option<bitnet_process::BeforeEnd> {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    let mode = tcgetattr(io::stdin()).ok()?;
    Some(bitnet_process::before_end(move || {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &mode);
        // The editor has the terminal mark what is pasted.
        const UNMARKED: &str = "\x1b[?2004l\r\n";
        if io::stderr().is_terminal() {
            let _ = io::Write::write_all(&mut io::stderr(), UNMARKED.as_bytes());
        }
    }))
}

#[cfg(not(unix))]
fn restored_before_end() {}

/// Completes commands, and the files behind them.
struct Completion(FilenameCompleter);

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let begun = &line[..at];
        let names_a_file = |row: &&super::said::Row| {
            let rest = begun.strip_prefix(row.name);
            row.argument == "FILE" && rest.is_some_and(|rest| rest.starts_with(' '))
        };
        if COMMANDS.iter().any(|row| names_a_file(&row)) {
            return self.0.complete(line, at, context);
        }
        let names = COMMANDS.iter().map(|row| row.name);
        let candidates = names
            .filter(|name| begun.starts_with('/') && name.starts_with(begun))
            .map(|name| Pair {
                display: name.to_owned(),
                replacement: name.to_owned(),
            });
        Ok((0, candidates.collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}
