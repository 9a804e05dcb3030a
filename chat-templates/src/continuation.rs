//! Ending a text where that of the last message does, so that the model goes on from there.
//!
//! A mark is put behind the message before rendering, and the rendered text is cut at it, as
//! transformers does it (`continue_final_message`). The blank behind the mark tells whether the
//! template strips messages; if it does, so is the message that is continued.

use crate::{Conversation, Error, Json};

const MARK: char = '\u{f0002}';

/// Puts the mark behind the text of the last message, where it is to be continued.
pub(crate) fn mark(conversation: &mut Conversation) -> Result<(), Error> {
    if !conversation.continue_final_message {
        return Ok(());
    }
    let last = match conversation.messages.last_mut() {
        Some(Json::Map(entries)) => entries.get_mut("content"),
        _ => None,
    };
    match last {
        Some(Json::Text(text)) => {
            text.push(MARK);
            text.push(' ');
            Ok(())
        }
        _ => Err(Error::NothingToContinue),
    }
}

/// The rendered text up to the mark, where there is to be one.
pub(crate) fn cut(conversation: &Conversation, mut text: String) -> Result<String, Error> {
    if !conversation.continue_final_message {
        return Ok(text);
    }
    let at = text.rfind(MARK).ok_or(Error::NotContinued)?;
    let is_kept = text[at..].chars().nth(1) == Some(' ');
    text.truncate(at);
    if !is_kept {
        text.truncate(text.trim_end().len());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use crate::{ChatTemplate, ControlTokens, Conversation, Error, Json, Segment, Tokens};

    fn rendered(template: &str, said: &str) -> Result<String, Error> {
        let messages = [("user", "Hi"), ("assistant", said)];
        let messages = messages.map(|(role, text)| Json::message(role, text));
        let conversation = Conversation {
            continue_final_message: true,
            ..Conversation::new(messages.to_vec())
        };
        assert_eq!(conversation.continued(), Some(said));
        let template = ChatTemplate::compile(template, Tokens::default())?;
        let rendered = template.render(&conversation, &ControlTokens::new(["<e>"]))?;
        assert!(!rendered.altered_by_marks);
        let segments = rendered.segments.iter().map(|segment| match segment {
            Segment::Text(text) | Segment::Control(text) => text.as_str(),
        });
        assert_eq!(segments.collect::<String>(), rendered.text);
        Ok(rendered.text)
    }

    #[test]
    fn the_text_ends_where_the_last_message_does() {
        let plain = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<e>\n{% endfor %}\
            {% if add_generation_prompt %}[assistant] {% endif %}";
        let trimming = "{% for m in messages %}{{ m.content | trim }}<e>{% endfor %}";
        let marked = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}<e>{% endfor %}";
        for (template, said, text) in [
            (plain, "I am", "[user] Hi<e>\n[assistant] I am"),
            (plain, "I am \n", "[user] Hi<e>\n[assistant] I am \n"),
            (plain, "", "[user] Hi<e>\n[assistant] "),
            // Its own control token is text.
            (plain, "I<e>", "[user] Hi<e>\n[assistant] I<e>"),
            (trimming, " I am \n", "Hi<e>I am"),
            (marked, "<think>x</think> I am ", "Hi<e> I am "),
        ] {
            assert_eq!(rendered(template, said).as_deref(), Ok(text), "{said:?}");
        }
    }

    #[test]
    fn what_cannot_be_continued_is_an_error() {
        let silent = "{% for m in messages %}{{ m.role }}{% endfor %}";
        assert_eq!(rendered(silent, "I am"), Err(Error::NotContinued));
        let template = ChatTemplate::compile(silent, Tokens::default()).unwrap();
        let conversation = Conversation {
            continue_final_message: true,
            ..Conversation::new(vec![Json::map([("role", "assistant".into())])])
        };
        let rendered = template.render(&conversation, &ControlTokens::default());
        assert_eq!(rendered, Err(Error::NothingToContinue));
    }
}
