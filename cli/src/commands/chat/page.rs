//! How an answer appears as it comes: its thought apart from it, on a terminal and in a pipe.

use std::io::{self, Write};

use anyhow::{Context, Result};
use bitnet_engine::{Error, Piece};
use bitnet_process::Watch;

/// How a thought is set apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// By faint letters.
    Faint,
    /// By marks around it.
    Marked,
}

impl Style {
    fn opened(self) -> &'static str {
        match self {
            Style::Faint => "\x1b[2m",
            Style::Marked => "<think>\n",
        }
    }

    fn closed(self) -> &'static str {
        match self {
            Style::Faint => "\x1b[0m\n",
            Style::Marked => "\n</think>\n",
        }
    }
}

/// Where in an answer something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Beginning,
    Thought,
    Answer,
}

/// Writes the pieces of an answer as they come, until a signal at the latest, and ends the line.
pub(super) fn write(
    pieces: impl Iterator<Item = Result<Piece, Error>>,
    style: Style,
    watch: &Watch,
    to: &mut impl Write,
) -> Result<()> {
    let mut place = Place::Beginning;
    let mut failed = None;
    for piece in pieces {
        match piece {
            Ok(piece) => show(&piece, style, &mut place, to).context("standard output")?,
            Err(error) => failed = Some(error),
        }
        if watch.interrupt().is_raised() {
            break;
        }
    }
    let end = match place {
        Place::Thought => style.closed(),
        Place::Beginning | Place::Answer => "\n",
    };
    to.write_all(end.as_bytes())
        .and_then(|()| to.flush())
        .context("standard output")?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn show(piece: &Piece, style: Style, place: &mut Place, to: &mut impl Write) -> io::Result<()> {
    if piece.text.is_empty() {
        return Ok(());
    }
    match (*place, piece.thought) {
        (Place::Thought, false) => writeln!(to, "{}", style.closed())?,
        (Place::Beginning | Place::Answer, true) => write!(to, "{}", style.opened())?,
        _ => {}
    }
    *place = match piece.thought {
        true => Place::Thought,
        false => Place::Answer,
    };
    to.write_all(piece.text.as_bytes())?;
    to.flush()
}
