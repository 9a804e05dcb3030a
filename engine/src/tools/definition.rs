//! [`Tools`]: what a model may call, whatever API that was asked in.

use bitnet_chat_templates::Json;

/// A function that a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it takes, as a JSON schema; none where nothing is said of it.
    pub parameters: Option<Json>,
    /// Whether its arguments must follow the schema wherever it is called.
    pub strict: bool,
    /// What templates see: `{"type": "function", "function": {"name", "description",
    /// "parameters"}}`, as transformers has it.
    pub definition: Json,
}

impl Tool {
    /// A function with its definition in the form that templates see.
    pub fn new(name: &str, description: Option<&str>, parameters: Option<Json>) -> Tool {
        let mut function = vec![("name", Json::from(name))];
        function.extend(description.map(|text| ("description", text.into())));
        function.extend(parameters.clone().map(|schema| ("parameters", schema)));
        Tool {
            name: name.to_owned(),
            parameters,
            strict: false,
            definition: Json::map([
                ("type", Json::from("function")),
                ("function", Json::map(function)),
            ]),
        }
    }
}

/// Whether a model calls anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It does not, and is not told that it could.
    None,
    /// As it likes.
    #[default]
    Auto,
    /// It calls at least one tool, whichever.
    Required,
    /// It calls this one.
    Named(String),
}

/// What a model may call, and whether it must.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    /// The functions; none where there are no tools.
    pub list: Vec<Tool>,
    /// Whether it must call one.
    pub choice: ToolChoice,
    /// Whether it may make several calls in one answer.
    pub parallel: bool,
}

impl Tools {
    /// Whether the model is told of any.
    pub fn are_offered(&self) -> bool {
        !self.list.is_empty() && self.choice != ToolChoice::None
    }

    /// Whether an answer is a call in any case.
    pub fn are_required(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// Whether an answer may call this one of them.
    pub(crate) fn may_call(&self, tool: &Tool) -> bool {
        match &self.choice {
            ToolChoice::Named(name) => tool.name == *name,
            ToolChoice::None => false,
            ToolChoice::Auto | ToolChoice::Required => true,
        }
    }

    /// What the template is given; none where the model is told of no tool.
    pub fn for_template(&self) -> Option<Vec<Json>> {
        let definitions = || self.list.iter().map(|tool| tool.definition.clone());
        self.are_offered().then(|| definitions().collect())
    }

    /// The tool of this name.
    pub fn named(&self, name: &str) -> Option<&Tool> {
        self.list.iter().find(|tool| tool.name == name)
    }
}

/// A call that a model made, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// What its result refers to.
    pub id: String,
    /// The function.
    pub name: String,
    /// Its arguments as the model wrote them: a JSON object, unless the answer was cut off.
    pub arguments: String,
}

impl ToolCall {
    /// The call in a message of the model's, as templates see it: the arguments are a mapping.
    ///
    /// # Errors
    /// The arguments are no JSON object; what is wrong with them.
    pub fn for_template(&self) -> Result<Json, String> {
        let arguments = match self.arguments.trim() {
            "" => Json::Map(Default::default()),
            text => Json::parse(text).map_err(|error| format!("not JSON ({error})"))?,
        };
        if !matches!(arguments, Json::Map(_)) {
            return Err(format!("{}, no JSON object", arguments.kind()));
        }
        let function = [
            ("name", Json::from(&self.name[..])),
            ("arguments", arguments),
        ];
        Ok(Json::map([
            ("id", Json::from(&self.id[..])),
            ("type", Json::from("function")),
            ("function", Json::map(function)),
        ]))
    }
}

/// What is new of a call. They come one after another, each begun, given arguments and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallPart {
    /// Another call, of the function of this name.
    Begun {
        /// The name.
        name: String,
    },
    /// More of its arguments: the parts are a JSON object together.
    Arguments(String),
    /// It is whole.
    Ended,
}
