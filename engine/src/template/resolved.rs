//! [`Template`]: the template of a model, ready to write.

use std::fmt;
use std::sync::Arc;

use crate::conversation::ModelTemplate;

/// The template that a model is talked to with, and how it is known.
#[derive(Clone, Debug)]
pub struct Template {
    name: Arc<str>,
    evidence: Option<Arc<str>>,
    /// None where the model continues what it is given.
    form: Option<Arc<ModelTemplate>>,
}

impl Template {
    /// No template. `evidence` says why, where that was not asked for.
    pub(crate) fn raw(evidence: Option<String>) -> Template {
        Template {
            name: "raw".into(),
            evidence: evidence.map(Into::into),
            form: None,
        }
    }

    /// One that was asked for by this name.
    pub(crate) fn named(name: &str, form: ModelTemplate) -> Template {
        Template {
            name: name.into(),
            evidence: None,
            form: Some(Arc::new(form)),
        }
    }

    /// One that was looked for.
    pub(crate) fn found(form: ModelTemplate) -> Template {
        Template {
            name: form
                .family()
                .map_or("chat_template", |family| family.name)
                .into(),
            evidence: Some(form.evidence().to_string().into()),
            form: Some(Arc::new(form)),
        }
    }

    /// Its name: that of a family, `raw`, `instruct`, `chat_template` where it is the model's own,
    /// or what its giver called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was found, in words; nothing where it was named.
    pub fn evidence(&self) -> Option<&str> {
        self.evidence.as_deref()
    }

    /// The template itself, as Jinja; nothing for `raw`.
    pub fn source(&self) -> Option<&str> {
        Some(self.form()?.source())
    }

    pub(crate) fn form(&self) -> Option<&ModelTemplate> {
        self.form.as_deref()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
