//! [`Turns`]: what was said, and which of it is still sent.

use bitnet_chat_templates::Json;

/// The turns of a conversation, oldest first: what the system says, then questions with what
/// followed them.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    pub(super) all: Vec<Json>,
    /// Turns behind those of the system that are no longer sent.
    pub(super) dropped: usize,
}

impl Turns {
    /// Turns that all are sent.
    pub(super) fn new(all: Vec<Json>) -> Turns {
        Turns { all, dropped: 0 }
    }

    /// What the system says first.
    pub(super) fn system(&self) -> Option<&str> {
        self.all.first().filter(|turn| is_of(turn, "system"))?;
        self.all[0].text_at("content")
    }

    /// Changes what the system says first.
    pub(super) fn set_system(&mut self, said: Option<&str>) {
        let there = self.all.first().is_some_and(|turn| is_of(turn, "system"));
        let said = said.map(|text| Json::message("system", text));
        self.all.splice(..usize::from(there), said);
    }

    /// Turns of the system, before the first question.
    fn of_system(&self) -> usize {
        let turns = self.all.iter();
        turns.take_while(|turn| is_of(turn, "system")).count()
    }

    /// The turns that are sent.
    pub(super) fn sent(&self) -> Vec<Json> {
        let system = self.of_system();
        let rest = self.all.iter().skip(system + self.dropped);
        self.all.iter().take(system).chain(rest).cloned().collect()
    }

    /// Drops the oldest question that is sent, with all that followed it. Whether there was another
    /// behind it: the last one stays.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let first = self.of_system() + self.dropped;
        let mut questions = self.all.iter().skip(first + 1);
        let next = questions.position(|turn| is_of(turn, "user"));
        self.dropped += next.map_or(0, |next| next + 1);
        next.is_some()
    }

    /// Takes back what followed the last question. Whether there is one.
    pub(super) fn back_to_question(&mut self) -> bool {
        let last = self.all.iter().rposition(|turn| is_of(turn, "user"));
        self.all.truncate(last.map_or(self.all.len(), |at| at + 1));
        last.is_some()
    }

    /// Takes back the last question, with what followed it, and returns its text. What was dropped
    /// may have room again.
    pub(super) fn undo(&mut self) -> Option<String> {
        let last = self.all.iter().rposition(|turn| is_of(turn, "user"))?;
        let question = self.all[last].text_at("content").unwrap_or_default();
        let question = question.to_owned();
        self.all.truncate(last);
        self.dropped = 0;
        Some(question)
    }

    /// Takes back all but what the system says.
    pub(super) fn reset(&mut self) {
        self.all.truncate(self.of_system());
        self.dropped = 0;
    }
}

fn is_of(turn: &Json, role: &str) -> bool {
    turn.text_at("role") == Some(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(roles: &str) -> Turns {
        let turn = |(number, role): (usize, char)| {
            let role = match role {
                's' => "system",
                'u' => "user",
                'a' => "assistant",
                _ => "tool",
            };
            Json::message(role, &number.to_string())
        };
        Turns::new(roles.chars().enumerate().map(turn).collect())
    }

    fn sent(turns: &Turns) -> String {
        let sent = turns.sent();
        let numbers = sent.iter().map(|turn| turn.text_at("content").unwrap());
        numbers.collect()
    }

    #[test]
    fn the_oldest_questions_are_dropped_with_what_followed_them() {
        let mut it = turns("suatauau");
        assert!(it.drop_oldest());
        assert_eq!((sent(&it).as_str(), it.dropped), ("0567", 4));
        assert!(it.drop_oldest());
        assert_eq!((sent(&it).as_str(), it.dropped), ("07", 6));
        assert!(!it.drop_oldest());
        assert_eq!(it.all.len(), 8);
        // What stands before the first question goes with nothing else.
        let mut it = turns("auau");
        assert!(it.drop_oldest());
        assert_eq!(sent(&it), "123");
    }

    #[test]
    fn a_question_is_taken_back_with_what_followed_it() {
        let mut it = turns("suauata");
        assert!(it.drop_oldest());
        assert!(it.back_to_question());
        assert_eq!(sent(&it), "03");
        assert_eq!(it.undo().as_deref(), Some("3"));
        assert_eq!(sent(&it), "012");
        it.reset();
        assert_eq!(sent(&it), "0");
        assert!(!it.back_to_question() && it.undo().is_none());
        assert_eq!(sent(&it), "0");
    }

    #[test]
    fn what_the_system_says_is_changed_in_its_place() {
        let mut it = turns("ua");
        it.set_system(Some("x"));
        assert_eq!((it.system(), sent(&it).as_str()), (Some("x"), "x01"));
        it.set_system(Some("y"));
        assert_eq!(sent(&it), "y01");
        it.set_system(None);
        assert_eq!((it.system(), sent(&it).as_str()), (None, "01"));
    }
}
