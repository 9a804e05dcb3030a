//! What every program of this project does alike: it ends when a signal asks for that, and it says
//! things to people, who may have gone.
//!
//! A program calls [`take_over`] as the first thing. From then on Ctrl-C, `SIGTERM` and `SIGHUP`
//! end it, with the code that a shell reports for them, after what [`before_end`] asked for. While
//! there is a [`Watch`], the first signal only raises an [`Interrupt`], so that work ends in order,
//! and the second one ends the program.
//!
//! [`say!`] and [`note!`] write lines, as `println!` and `eprintln!` do, without a panic where
//! nobody reads them any more.

mod interrupt;
mod say;
mod signals;

pub use interrupt::Interrupt;
pub use say::{note_line, said_all, say_line};
pub use signals::{BeforeEnd, Watch, before_end, take_over};
