//! Stop strings in streamed text.

/// Passes text on until a stop string appears, and holds back what might become one.
#[derive(Clone, Debug)]
pub(crate) struct StopStrings {
    stops: Vec<String>,
    held: String,
    shown: String,
}

impl StopStrings {
    /// Empty stop strings are left out.
    pub(crate) fn new(stops: &[String]) -> StopStrings {
        let stops = stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .cloned()
            .collect();
        StopStrings {
            stops,
            held: String::new(),
            shown: String::new(),
        }
    }

    /// Takes more text. Returns what may be shown now, and the stop string that was found behind
    /// it: the first of those given that begin earliest.
    pub(crate) fn push(&mut self, text: &str) -> (&str, Option<&str>) {
        self.held.push_str(text);
        let found = self.stops.iter();
        let found = found.filter_map(|stop| Some((self.held.find(stop)?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, _)| *at) {
            self.shown.clear();
            self.shown.push_str(&self.held[..at]);
            self.held.clear();
            return (&self.shown, Some(stop));
        }
        let stops = self.stops.iter();
        let keep = stops.map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let sure = self.held.len() - keep;
        self.shown.clear();
        self.shown.push_str(&self.held[..sure]);
        self.held.drain(..sure);
        (&self.shown, None)
    }

    /// What was held back, once no more text comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `mark` begins with, short of all of it.
pub(crate) fn begun(text: &str, mark: &str) -> usize {
    let mut ends = mark.char_indices().map(|(at, _)| at).rev();
    ends.find(|at| text.ends_with(&mark[..*at])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_is_found_across_pieces_and_never_shown() {
        let mut stops = StopStrings::new(&["END.".to_owned(), String::new(), "stop".to_owned()]);
        assert_eq!(stops.push("so E"), ("so ", None));
        assert_eq!(stops.push("Nx st"), ("ENx ", None));
        assert_eq!(stops.push("o"), ("", None));
        assert_eq!(stops.push("E"), ("sto", None));
        assert_eq!(stops.push("ND. stop"), ("", Some("END.")));
    }

    #[test]
    fn what_was_held_back_comes_out_in_the_end() {
        let mut stops = StopStrings::new(&["étoile".to_owned()]);
        assert_eq!(stops.push("une é"), ("une ", None));
        assert_eq!(stops.finish(), "é");
    }
}
