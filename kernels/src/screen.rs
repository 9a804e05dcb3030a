//! [`KeepsScreen`]: a screen of the output head that outlives the process that made it.
//!
//! A device may make a copy of the head that takes fewer bytes than its rows and bounds every logit
//! ([`Screening`](crate::Screening) tells what that saves). It depends on the head alone, so one
//! process can make it for all: here is what a device says of it, hands out and takes in. Where it
//! is kept meanwhile is not known here.

use std::sync::Arc;

use crate::program::WeightId;

/// A device whose screen can be kept.
pub trait KeepsScreen {
    /// What its screen is made of, and how.
    fn form(&self) -> ScreenForm;

    /// Takes in a screen that was made in the same form of the same head, before the first pass.
    fn take(&mut self, parts: Arc<dyn ScreenParts>);

    /// The screen, once all of it is made.
    fn complete(&self) -> Option<Arc<dyn ScreenParts>>;
}

/// What a screen is made of, and how. Of equal forms and equal heads, one can be used for the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenForm {
    /// The head.
    pub weight: WeightId,
    /// Names the codes, and the order in which their parts come.
    pub codes: &'static str,
    /// Bytes of each part.
    pub parts: Vec<usize>,
}

impl ScreenForm {
    /// Bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().sum()
    }
}

/// The bytes of a screen, in the parts of its [form](ScreenForm).
pub trait ScreenParts: Send + Sync {
    /// The bytes of a part, aligned to 64. `None` if they are not what was made: no part is given
    /// from then on.
    fn part(&self, index: usize) -> Option<&[u8]>;

    /// Copies a part, which is as long as `into`. `false` if what was copied is not what was made.
    fn copy(&self, index: usize, into: &mut [u8]) -> bool {
        match self.part(index) {
            Some(bytes) if bytes.len() == into.len() => {
                into.copy_from_slice(bytes);
                true
            }
            _ => false,
        }
    }
}
