//! What is supported of each API: the one table of it. Requests are read by it, and
//! docs/reference/api.md is made of it.

/// One path of the server.
#[derive(Debug)]
#[non_exhaustive]
pub struct Api {
    /// Method and path.
    pub path: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// What its body may have.
    pub fields: &'static [Field],
}

/// A field of a request's body.
#[derive(Debug)]
#[non_exhaustive]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What becomes of it.
    pub status: Status,
    /// What it does here, or why it is not honoured.
    pub meaning: &'static str,
}

impl Api {
    /// A field that this API lacks, and that would change an answer of another one: with that one.
    /// What asks for it there must not be without effect here.
    pub(crate) fn elsewhere(&self, name: &str) -> Option<(&'static Api, &'static Field)> {
        let generates = GENERATING.iter().any(|api| api.path == self.path);
        if !generates || self.fields.iter().any(|field| field.name == name) {
            return None;
        }
        let fields = GENERATING
            .iter()
            .flat_map(|api| api.fields.iter().map(move |field| (*api, field)));
        let mut changing =
            fields.filter(|(_, field)| !matches!(field.status, Status::WithoutEffect));
        changing.find(|(_, field)| field.name == name)
    }
}

/// What becomes of a field. One that no API knows is tolerated and changes nothing.
#[derive(Clone, Copy, Debug)]
pub enum Status {
    /// It does what it should.
    Honoured,
    /// It is taken and changes nothing, as it would change no answer.
    WithoutEffect,
    /// It would change the answer, and is not honoured: a request that has it is an error, unless
    /// its value is one of these, which ask for nothing.
    Refused {
        /// As JSON.
        but: &'static [&'static str],
    },
}

const fn honoured(name: &'static str, meaning: &'static str) -> Field {
    Field {
        name,
        status: Status::Honoured,
        meaning,
    }
}

const fn idle(name: &'static str, meaning: &'static str) -> Field {
    Field {
        name,
        status: Status::WithoutEffect,
        meaning,
    }
}

const fn refused(name: &'static str, but: &'static [&'static str], meaning: &'static str) -> Field {
    Field {
        name,
        status: Status::Refused { but },
        meaning,
    }
}

/// The names of OpenAI's API, of vLLM and of llama.cpp for what chooses tokens otherwise.
const NO_STAGE: &str = "the sampler has no such stage";
const OLD_TOOLS: &str = "give them as `tools` and `tool_choice`";

macro_rules! generating {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            honoured("model", "A name that `/v1/models` lists, or nothing; any other is 404"),
            honoured("max_tokens", "Most tokens of the answer. It ends at the context in any case"),
            honoured("temperature", "0 takes the best token; 1 by default"),
            honoured("top_p", "1, all, by default"),
            honoured("top_k", "0 or -1, all, by default"),
            honoured("min_p", "0, all, by default"),
            honoured("presence_penalty", "-2 to 2, over tokens that were generated"),
            honoured("frequency_penalty", "-2 to 2, over tokens that were generated"),
            honoured("repeat_penalty", "Over the last 64 tokens, those of the prompt too"),
            honoured("repetition_penalty", "The same by vLLM's name"),
            honoured("logit_bias", "Token ids with what is added to their logits, -100 to 100"),
            honoured("seed", "Choice number `i` is drawn with `seed + i`; a random one by default, which the answer tells"),
            honoured("n_predict", "As `max_tokens`, by llama.cpp's name; below 0, all that there is room for"),
            honoured("min_tokens", "Tokens of the answer at least: before, none that ends it is chosen, and `stop` is not looked for"),
            honoured("ignore_eos", "The answer goes on behind the tokens that end it, which no text shows"),
            honoured("stop_token_ids", "Token ids at which an answer ends too, even with `ignore_eos`"),
            honoured("stop", "A text or up to 16 of them, which are no part of the answer"),
            honoured("n", "1 to 128 choices"),
            honoured("stream", "Server-sent events, with a comment every 15 seconds where nothing else comes"),
            honoured("stream_options", "`include_usage`: a last chunk with the usage"),
            idle("user", "Nobody is told apart"),
            idle("metadata", "Nothing is kept"),
            idle("store", "Nothing is kept"),
            idle("service_tier", "There is one"),
            idle("safety_identifier", "Nobody is told apart"),
            idle("prompt_cache_key", "Answers do not depend on caches"),
            idle("cache_prompt", "Answers do not depend on caches"),
            idle("cache_salt", "Answers do not depend on caches"),
            idle("n_cache_reuse", "Answers do not depend on caches"),
            idle("priority", "All wait in the order in which they came"),
            idle("request_id", "A response has the id of its request as a header"),
            idle("timings_per_token", "The figures of all requests are under `/metrics`"),
            idle("return_progress", "The figures of all requests are under `/metrics`"),
            idle("n_keep", "No part of a prompt is dropped"),
            idle("id_slot", "Answers do not depend on where they are computed"),
            refused("best_of", &["1"], "no choice is left out"),
            refused("suffix", &["\"\""], "nothing can be filled in before a text"),
            honoured("response_format", "`text`, `json_object` or `json_schema` (`strict` or not, the schema is held to): of the keywords that llguidance knows; one that it does not is an error"),
            honoured("structured_outputs", "One of `json`, `regex`, `choice`, `grammar`, `json_object`"),
            honoured("json_schema", "A JSON schema, by llama.cpp's name"),
            honoured("grammar", "A grammar as llama.cpp writes them (GBNF), or in llguidance's variant of Lark's syntax"),
            honoured("guided_json", "A JSON schema, or a text that holds one"),
            honoured("guided_regex", "The answer is what this regular expression matches as a whole"),
            honoured("guided_choice", "The answer is one of these texts"),
            honoured("guided_grammar", "As `grammar`"),
            refused("bad_words", &["[]"], "forbid tokens with `logit_bias`"),
            refused("allowed_token_ids", &["[]"], "say what the answer may be with `structured_outputs`"),
            honoured("prompt_logprobs", "0 to 20: vLLM's list of the prompt's tokens, by their ids, with so many of the most probable ones; `null` for the first. It cannot be streamed"),
            refused("n_cmpl", &["1"], "its name here is `n`"),
            refused("n_probs", &["0"], "its name here is `logprobs`"),
            refused("post_sampling_probs", &["false"], "logprobs are the model's own"),
            refused("logprob_token_ids", &["[]"], "logprobs are those of the most probable tokens"),
            refused("return_tokens", &["false"], "answers are texts"),
            refused("return_token_ids", &["false"], "answers are texts"),
            refused("return_tokens_as_token_ids", &["false"], "answers are texts"),
            refused("response_fields", &[], "a response has all of its fields"),
            refused("include_stop_str_in_output", &["false"], "a stop text is no part of the answer"),
            refused("skip_special_tokens", &["true"], "control tokens have no text here"),
            refused("truncate_prompt_tokens", &[], "a prompt is read whole"),
            refused("prompt_embeds", &[], "prompts are texts or token ids"),
            refused("n_indent", &["0"], "an answer does not depend on its indentation"),
            refused("t_max_predict_ms", &["0", "-1"], "an answer does not depend on time"),
            refused("thinking_token_budget", &["-1"], "a thought has no budget of its own"),
            refused("logits_processors", &["[]"], NO_STAGE),
            refused("samplers", &[], "the stages have one order"),
            refused("min_keep", &["0", "1"], NO_STAGE),
            refused("adaptive_target", &["-1", "-1.0"], NO_STAGE),
            refused("lora", &["[]"], "the server has one model"),
            refused("typical_p", &["1", "1.0"], NO_STAGE),
            refused("mirostat", &["0"], NO_STAGE),
            refused("dynatemp_range", &["0", "0.0"], NO_STAGE),
            refused("dry_multiplier", &["0", "0.0"], NO_STAGE),
            refused("xtc_probability", &["0", "0.0"], NO_STAGE),
            refused("top_n_sigma", &["-1", "-1.0"], NO_STAGE),
            refused("repeat_last_n", &["64"], "the repeat penalty looks back on 64 tokens"),
            refused("use_beam_search", &["false"], NO_STAGE),
            refused("length_penalty", &["1", "1.0"], NO_STAGE),
        ]
    };
}

/// `POST /v1/chat/completions`.
pub(crate) const CHAT: Api = Api {
    path: "POST /v1/chat/completions",
    about: "The next message of a conversation, which the model's own template writes. Thoughts of a thinking model stand under `reasoning_content`.",
    fields: generating!(
        honoured(
            "messages",
            "`content` is a text or a list of parts of type `text`; the roles are OpenAI's, and `developer` is `system`. All else is handed to the template"
        ),
        honoured("max_completion_tokens", "As `max_tokens`"),
        honoured(
            "logprobs",
            "The model's own probabilities, before the sampler"
        ),
        honoured("top_logprobs", "0 to 20"),
        honoured(
            "chat_template_kwargs",
            "Names that the template sees, such as `enable_thinking`"
        ),
        honoured(
            "receipt",
            "Each choice has a `receipt` then, with its last chunk where it is streamed: what `bitnet verify` makes the answer again from. On a CPU alone"
        ),
        honoured(
            "tools",
            "Functions that the model may call; its calls are read back in the form that its template teaches. A template without tools, or with a form that is not known, is an error"
        ),
        honoured(
            "tool_choice",
            "`none` (the model is not told of tools), `auto`, `required`, or an object that names a function. Calls are held to the schemas of their tools, from their mark on"
        ),
        honoured(
            "parallel_tool_calls",
            "`false` ends the answer behind a call; true by default"
        ),
        refused("functions", &["[]"], OLD_TOOLS),
        refused("function_call", &["\"none\"", "\"auto\""], OLD_TOOLS),
        refused("modalities", &["[\"text\"]"], "answers are text"),
        refused("audio", &[], "answers are text"),
        honoured(
            "reasoning_effort",
            "What a template that knows `reasoning_effort` sees under that name; `none` too where it knows `enable_thinking`. All else is refused"
        ),
        refused("verbosity", &[], "no template knows it"),
        refused(
            "web_search_options",
            &[],
            "the server reaches no other machine"
        ),
        refused(
            "chat_template",
            &[],
            "the template is chosen when the server starts"
        ),
        refused(
            "echo",
            &["false"],
            "what a message begins with is not repeated"
        ),
        refused(
            "documents",
            &["[]"],
            "documents are not handed to the template yet"
        ),
        honoured(
            "add_generation_prompt",
            "False: the template does not begin a message for the answer. True by default, unless the last message is continued"
        ),
        honoured(
            "continue_final_message",
            "True: the answer goes on from the text of the last message, which it does not repeat"
        ),
        refused(
            "add_special_tokens",
            &["false"],
            "a prompt begins as its template and its model have it"
        ),
        refused(
            "include_reasoning",
            &["true"],
            "thoughts stand under `reasoning_content`"
        ),
        refused(
            "reasoning_format",
            &["\"auto\"", "\"deepseek\""],
            "thoughts stand under `reasoning_content`"
        ),
        refused(
            "thinking_forced_open",
            &["false"],
            "the template says whether a thought has begun"
        ),
        refused(
            "parse_tool_calls",
            &["true"],
            "calls are told apart where there are tools"
        ),
        idle("prediction", "It would change no token"),
    ),
};

/// `POST /v1/completions`.
pub(crate) const COMPLETIONS: Api = Api {
    path: "POST /v1/completions",
    about: "The continuation of a text as it is. `max_tokens` is 16 by default.",
    fields: generating!(
        honoured(
            "prompt",
            "A text, a list of texts, a list of token ids, or a list of such lists. Control tokens that are spelled out are text"
        ),
        honoured(
            "logprobs",
            "0 to 20: so many of the most probable tokens, and the one that was chosen. The token that ends an answer is told too, though it is no part of the text"
        ),
        honoured(
            "echo",
            "The text begins with the prompt; with `logprobs`, so do the tokens: `null` for the first, which nothing precedes. With `max_tokens` 0 nothing else is told"
        ),
        honoured(
            "receipt",
            "Each choice has a `receipt` then, with its last chunk where it is streamed: what `bitnet verify` makes the answer again from. On a CPU alone"
        ),
        refused(
            "add_special_tokens",
            &["true"],
            "a text begins as the model has it; token ids stand as they are"
        ),
    ),
};

const AS_CHAT: &str = "As for `/v1/chat/completions`";
const AS_MESSAGES: &str = "As for `/v1/messages`";
const NOTHING_KEPT: &str = "nothing is kept between requests";

/// Fields of other APIs with those that choose tokens as in chats.
macro_rules! choosing_as_chat {
    ($($own:expr),* $(,)?) => {
        &[
            $($own,)*
            honoured("temperature", AS_CHAT),
            honoured("top_p", AS_CHAT),
            honoured("top_k", AS_CHAT),
            honoured("min_p", AS_CHAT),
            honoured("presence_penalty", AS_CHAT),
            honoured("frequency_penalty", AS_CHAT),
            honoured("repeat_penalty", AS_CHAT),
            honoured("repetition_penalty", AS_CHAT),
            honoured("logit_bias", AS_CHAT),
            honoured("seed", AS_CHAT),
        ]
    };
}

/// `POST /v1/responses`.
pub(crate) const RESPONSES: Api = Api {
    path: "POST /v1/responses",
    about: "OpenAI's newer form of the same, for one answer at a time: nothing is kept, so each request brings the whole conversation as `input`, and the response says `store: false`. Thoughts of a thinking model are items of type `reasoning`, whose text stands in `content`.",
    fields: choosing_as_chat!(
        honoured("model", AS_CHAT),
        honoured(
            "input",
            "A text, or a list of items of type `message`, `reasoning`, `function_call` or `function_call_output`; parts of a message are texts. All other items and parts (images, files, items by their id) are refused by name",
        ),
        honoured("instructions", "What the system says first"),
        honoured(
            "max_output_tokens",
            "Most tokens of the answer, thoughts included",
        ),
        honoured(
            "stream",
            "OpenAI's events, from `response.created` to `response.completed`, with a comment every 15 seconds where nothing else comes",
        ),
        honoured("top_logprobs", "0 to 20"),
        honoured(
            "include",
            "`message.output_text.logprobs`; of all else there is nothing to include",
        ),
        honoured(
            "reasoning",
            "`effort` as `reasoning_effort` of `/v1/chat/completions`; a `summary` is refused, but for `auto`",
        ),
        honoured(
            "text",
            "`format` as `response_format` of `/v1/chat/completions`, with the schema beside its name; a `verbosity` is refused, but for `medium`",
        ),
        honoured("metadata", "Repeated in the response"),
        honoured("stop", AS_CHAT),
        honoured("chat_template_kwargs", AS_CHAT),
        idle("store", "Nothing is kept, and the response says so"),
        idle(
            "stream_options",
            "Nothing is obfuscated, and the usage is always told",
        ),
        idle("user", "Nobody is told apart"),
        idle("safety_identifier", "Nobody is told apart"),
        idle("service_tier", "There is one"),
        idle("prompt_cache_key", "Answers do not depend on caches"),
        idle("prompt_cache_options", "Answers do not depend on caches"),
        idle("prompt_cache_retention", "Answers do not depend on caches"),
        idle("max_tool_calls", "There are no tools of the server's own"),
        refused("previous_response_id", &[], NOTHING_KEPT),
        refused("conversation", &[], NOTHING_KEPT),
        refused("prompt", &[], NOTHING_KEPT),
        refused("background", &["false"], NOTHING_KEPT),
        refused(
            "truncation",
            &["\"disabled\""],
            "a conversation is read whole",
        ),
        refused(
            "context_management",
            &["[]"],
            "a conversation is read whole",
        ),
        refused("moderation", &[], "the server has one model"),
        honoured(
            "tools",
            "Functions, as of `/v1/chat/completions`; tools that a server runs are refused by name",
        ),
        honoured("tool_choice", AS_CHAT),
        honoured("parallel_tool_calls", AS_CHAT),
    ),
};

/// `POST /v1/messages`.
pub(crate) const MESSAGES: Api = Api {
    path: "POST /v1/messages",
    about: "Anthropic's form of the same. Thoughts of a thinking model are blocks of type `thinking`. The header `anthropic-version` may be left out, and is no earlier than `2023-06-01`; `anthropic-beta` changes nothing. A key may come as `x-api-key`.",
    fields: choosing_as_chat!(
        honoured("model", AS_CHAT),
        honoured(
            "messages",
            "The answer goes on from the last message where it is the assistant's. `content` is a text or a list of blocks of type `text`, of the assistant also `thinking` and `tool_use`, of the user `tool_result`, whose `is_error` is left to its content. `cache_control` changes nothing. Turns of one role that follow each other are one. All other blocks (images, documents, search results, citations) are refused by name",
        ),
        honoured("system", "A text or a list of blocks of type `text`"),
        honoured("max_tokens", "Must be there. 0 only reads the prompt"),
        honoured(
            "stop_sequences",
            "Up to 16 texts, which are no part of the answer; `stop_sequence` says which one was found",
        ),
        honoured(
            "stream",
            "Anthropic's events, with a `ping` every 15 seconds where nothing else comes",
        ),
        honoured(
            "thinking",
            "`disabled`, `enabled` and `adaptive`, where the template knows `enable_thinking` or it is what the model does anyway. A `budget_tokens` is refused unless it allows all of `max_tokens`, and so is `display` but for `summarized`, which shows all",
        ),
        honoured("chat_template_kwargs", AS_CHAT),
        idle("metadata", "Nothing is kept, and nobody told apart"),
        idle("service_tier", "There is one"),
        idle("cache_control", "Answers do not depend on caches"),
        idle("inference_geo", "There is one place"),
        idle("speed", "There is one"),
        idle("diagnostics", "Answers do not depend on caches"),
        idle("user_profile_id", "Nobody is told apart"),
        idle("workspace_id", "There is one"),
        honoured(
            "tools",
            "Functions of the client's own, as of `/v1/chat/completions`; tools that a server runs are refused by name",
        ),
        honoured(
            "tool_choice",
            "`auto`, `any`, `tool` with a name, or `none`; `disable_parallel_tool_use` ends the answer behind a call",
        ),
        honoured(
            "output_config",
            "`format` of type `json_schema`, as `response_format` of `/v1/chat/completions`; `effort` as its `reasoning_effort`",
        ),
        honoured("output_format", "The same by its older name"),
        refused("container", &[], NOTHING_KEPT),
        refused("receipt", &["false"], "ask `/v1/chat/completions`"),
        refused(
            "mcp_servers",
            &["[]"],
            "the server reaches no other machine",
        ),
        refused(
            "context_management",
            &["{}"],
            "a conversation is read whole",
        ),
    ),
};

/// `POST /v1/messages/count_tokens`.
pub(crate) const COUNT_TOKENS: Api = Api {
    path: "POST /v1/messages/count_tokens",
    about: "How many tokens the prompt of such a request has: `input_tokens`.",
    fields: &[
        honoured("model", AS_CHAT),
        honoured("messages", AS_MESSAGES),
        honoured("system", AS_MESSAGES),
        honoured("thinking", AS_MESSAGES),
        honoured("chat_template_kwargs", AS_MESSAGES),
        idle("cache_control", "Answers do not depend on caches"),
        honoured("tools", AS_MESSAGES),
        honoured("tool_choice", AS_MESSAGES),
        honoured("output_config", "`effort`, as for `/v1/messages`"),
        idle("output_format", "It changes no prompt"),
        refused(
            "mcp_servers",
            &["[]"],
            "the server reaches no other machine",
        ),
        refused(
            "context_management",
            &["{}"],
            "a conversation is read whole",
        ),
    ],
};

/// `POST /tokenize`.
pub(crate) const TOKENIZE: Api = Api {
    path: "POST /tokenize",
    about: "The tokens of a text (`content`), or of a conversation (`messages`): `tokens`, `count`, `max_model_len`.",
    fields: &[
        honoured("content", "A text, as it is"),
        honoured("prompt", "The same by vLLM's name"),
        honoured(
            "add_special",
            "Whether the token that begins a text comes first; false by default",
        ),
        honoured(
            "parse_special",
            "Whether control tokens that are spelled out are read as such; false by default",
        ),
        honoured("messages", AS_CHAT),
        honoured("tools", AS_CHAT),
        honoured("tool_choice", AS_CHAT),
        honoured("chat_template_kwargs", AS_CHAT),
        honoured("reasoning_effort", AS_CHAT),
        honoured("add_generation_prompt", AS_CHAT),
        honoured("continue_final_message", AS_CHAT),
        refused(
            "with_pieces",
            &["false"],
            "ask `/detokenize` for each token",
        ),
    ],
};

/// `POST /detokenize`.
pub(crate) const DETOKENIZE: Api = Api {
    path: "POST /detokenize",
    about: "The text of tokens: `content`, and the same as `prompt`.",
    fields: &[honoured("tokens", "A list of token ids")],
};

/// `POST /apply-template`.
pub(crate) const APPLY_TEMPLATE: Api = Api {
    path: "POST /apply-template",
    about: "What the template makes of a conversation: `prompt`.",
    fields: &[
        honoured("messages", AS_CHAT),
        honoured("tools", AS_CHAT),
        honoured("tool_choice", AS_CHAT),
        honoured("chat_template_kwargs", AS_CHAT),
        honoured("reasoning_effort", AS_CHAT),
        honoured("add_generation_prompt", AS_CHAT),
        honoured("continue_final_message", AS_CHAT),
    ],
};

/// `GET /v1/models`.
pub(crate) const MODELS: Api = Api {
    path: "GET /v1/models",
    about: "The names that the model goes by, in a form that is OpenAI's and Anthropic's at once; `GET /v1/models/NAME` is one of them.",
    fields: &[],
};

/// `GET /health`.
pub(crate) const HEALTH: Api = Api {
    path: "GET /health",
    about: "200 as long as the model answers, 503 until it is loaded and once the server was asked to stop. It needs no key.",
    fields: &[],
};

/// `GET /metrics`.
pub(crate) const METRICS: Api = Api {
    path: "GET /metrics",
    about: "Figures for Prometheus, by the names that vLLM made usual.",
    fields: &[],
};

/// `GET /`.
pub(crate) const PAGE: Api = Api {
    path: "GET /",
    about: "A page to talk with the model, unless the server runs with `--no-page`. It needs no key; what it asks the server does.",
    fields: &[],
};

/// Those that generate answers.
const GENERATING: [&Api; 4] = [&CHAT, &COMPLETIONS, &RESPONSES, &MESSAGES];

/// All of them.
pub const APIS: &[&Api] = &[
    &CHAT,
    &COMPLETIONS,
    &RESPONSES,
    &MESSAGES,
    &COUNT_TOKENS,
    &MODELS,
    &TOKENIZE,
    &DETOKENIZE,
    &APPLY_TEMPLATE,
    &HEALTH,
    &METRICS,
    &PAGE,
];
