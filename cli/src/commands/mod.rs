//! Subcommands, one file each: an `Args` and a function that runs it and returns the exit code.

mod bench;
mod chat;
mod compare;
mod compat_check;
mod devices;
mod inspect;
mod logits;
mod models;
mod pipe;
mod price;
mod run;
mod serve;
mod template;
mod tokens;
mod verify;

use clap::Subcommand;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Generate text from a prompt
    ///
    /// Greedy unless --temperature is above 0: the same prompt gives the same text everywhere. With
    /// a temperature, the next token is drawn after, in this order, the repetition penalty over the
    /// last 64 tokens, --top-k, --top-p and --min-p; --seed fixes the draw on every machine.
    ///
    /// The prompt is --prompt, --prompt-file or standard input. Control tokens come from the
    /// template alone: their spelling in a prompt is text, unless --special is given.
    ///
    /// --prompt-template puts the prompt to the model in the form that it was trained on: `raw` (as
    /// it is), `auto` (the template in the model file, else chat_template.jinja, else the one of
    /// tokenizer_config.json beside it), `instruct` (`[INST] PROMPT [/INST]`), the name of a family
    /// (as for `bitnet template`; `llama3-chat` is `llama3-instruct`), or the file of a Jinja
    /// template. What `auto` found is said on standard error; where it found nothing, the prompt
    /// goes to the model as it is. --system-prompt goes where the template has a place for it, and
    /// before the prompt with `raw`.
    ///
    /// --receipt writes what the text was made of, and the digest of each step's logits, into a
    /// file from which `bitnet verify` makes it again on any machine. What was interrupted has one
    /// too.
    ///
    /// --json-schema, --grammar and --regex say what the text may be; it ends where they do. What
    /// a model thinks before its answer is left free.
    ///
    /// With --json, one object is printed at the end: `model`, `device`, `tokenizer`, `prompt`,
    /// `prompt_template`, `prompt_tokens`, `text`, `tokens`, `stop` (`end_of_generation`,
    /// `complete` where a grammar allows nothing more, `stop_string`, `max_tokens`, `context_full`
    /// or `cancelled`), `seed`, `guessed_tokens` (how many of the answer's had been guessed and
    /// read ahead), `prefill_seconds`, `decode_seconds`, and `kernels` (how often each kernel ran).
    Run(run::Args),
    /// Hold a conversation
    ///
    /// Each line of standard input is a turn; the answer goes to standard output, and nothing else
    /// does. Every turn knows those before it. --prompt-template is as for `run`; where `auto`
    /// finds no template, that is an error.
    ///
    /// At a terminal, lines are edited and kept in a history, and what is pasted is one turn. A
    /// line that ends in a backslash goes on in the next one. Ctrl-C ends an answer; at the prompt
    /// it clears the line, and twice, or Ctrl-D, leaves.
    ///
    /// A line that begins with a slash is a command: `/help` lists them (`/system`, `/reset`,
    /// `/undo`, `/regenerate`, `/save`, `/load`, `/template`, `/stats`, `/exit`); `//text` says
    /// `/text` to the model. Through a pipe, a command that fails ends the program with code 1.
    ///
    /// Thoughts of a thinking model are shown in faint letters on a terminal, and elsewhere between
    /// `<think>` and `</think>`.
    ///
    /// When the conversation fills the context, that is said, and the oldest turns are no longer
    /// sent to the model; with --on-full stop, nothing more is said, and a pipe ends with code 1.
    Chat(chat::Args),
    /// Make the answer of a receipt again, and say where it differs
    ///
    /// The receipt is a file that `run --receipt` wrote, or the `receipt` of a server's answer. Its
    /// model is --model, or looked for by its SHA-256: under the name that it has in the receipt,
    /// from here and beside the receipt, then as BITNET_GGUF, in models/ and the cache, and inside
    /// this program. The answer is computed again, and what is compared is the model, the tokenizer
    /// and the template, the logits of each step, the tokens, the text, and why it ended.
    ///
    /// A receipt holds on every machine: --threads, --batch and BITNET_ISA do not change a bit.
    /// Where it does not hold, a line for each difference says where it is, and the exit code is 4.
    /// A file that is no receipt, or whose answer cannot be computed here, is an error with code 1.
    ///
    /// With --json, one object is printed: `holds`, `steps` (how many have the same logits),
    /// `differences`, `notes`.
    Verify(verify::Args),
    /// Answer requests over HTTP, as OpenAI's API has them
    ///
    /// Many requests run side by side, and each gives what it gives alone, to the bit: an answer
    /// depends on the model, the request and its seed, not on what else the server does. What is
    /// supported of each API is in docs/reference/api.md, how to use it in docs/how-to/serve.md.
    ///
    /// It listens on this machine alone, and needs no key there. With --api-key-file, every request
    /// needs one of the keys in it, except for /health and the page at /. An address that other
    /// machines can reach is refused without keys, unless --allow-anyone is given. Requests of web
    /// pages of other sites are refused.
    ///
    /// Where it listens is said on standard error, and so is a JSON object for each request,
    /// without what was said in it. On Ctrl-C or SIGTERM it takes no more requests, lets those that
    /// run end within --drain seconds, and ends with code 0; a second signal ends it at once.
    Serve(serve::Args),
    /// Show what a GGUF file holds
    ///
    /// Metadata and what becomes of each key (honoured, without effect, warned about or refused),
    /// tensors, sizes, and the tokenizer that `run` would take with the file. Given a
    /// tokenizer.json, what that holds.
    Inspect(inspect::Args),
    /// Say what would stop a GGUF file from running
    ///
    /// The file is loaded as `run` loads it, and every weight is looked at. One line for each
    /// problem, and exit code 1 if there is one; a line for each warning and note, and one for each
    /// key of the metadata: honoured, without effect, warned about or refused.
    CompatCheck(compat_check::Args),
    /// Write the logits for given tokens to a file
    ///
    /// One row of little-endian f32 per token, as long as the vocabulary. --batch, --threads and
    /// BITNET_ISA do not change a bit of it; --kv does.
    Logits(logits::Args),
    /// Measure speed and memory
    ///
    /// Prefill and decode are medians over --repetitions. Decode first runs up to 24 steps that do
    /// not count, in which the screen of the output head is made (docs/explanation/output-head.md).
    /// `load and first token` counts from opening the file to the first token of a prompt of one
    /// token. Peak memory is the largest resident size of the process, on Linux.
    ///
    /// Beside the speeds stands what limits them. `bytes read` are the bytes of weights, keys and
    /// values that a pass cannot do without, and what was really read of the output head.
    /// `multiply-adds` are those of all matrix products and of attention. On the CPU, `reads at
    /// most` is the fastest of twelve readings of 256 MiB with as many threads, and `multiply-adds
    /// of bytes at most` is the rate of the best instruction of the instruction set on registers.
    /// Both are measured in the same run, and the percentages are of them. On a machine where other
    /// programs take a part of the bandwidth, look at several runs.
    ///
    /// --profile shows how the time of prefill and decode divides over the kinds of operations. On
    /// a CPU, the first thread takes the times. On a GPU they come from its timestamps or, where it
    /// has none, from submitting each operation on its own.
    ///
    /// On a GPU, `asked of the device in a pass` counts dispatches (kernels started), submissions,
    /// writes to the device and the bytes that went there and came back.
    ///
    /// With --json, `prefill` and `decode` hold all of this and the kernels that ran:
    /// `bytes_per_token`, `multiply_adds_per_token`, `bytes_per_second`,
    /// `multiply_adds_per_second`, `share_of_read_bandwidth`, `share_of_int8_peak`, `device`,
    /// `profile`, `profile_timed_by`.
    Bench(bench::Args),
    /// Hold every operation on a device against the CPU, and name the first that differs
    ///
    /// Each operation of the model runs on --device (`auto` is the best GPU here) and on the CPU,
    /// each time on the CPU's inputs. What is printed is how many values differ, and by how much of
    /// the largest one. If an operation differs by more than roundings explain, the first one is
    /// named and the exit code is 1.
    Compare(compare::Args),
    /// Show what would be sent to a model for a conversation
    ///
    /// Prints the text that is sent for the conversation in --messages, and nothing after it; with
    /// --ids the tokens instead, with the BOS token once.
    ///
    /// The template is --template-file (a file, or the name of a family: `bitnet-2b-4t`,
    /// `llama3-instruct`, `falcon3-instruct`, `falcon-e-instruct`, `qwen3`, `bitcpm4`, `zephyr`,
    /// `chatml`), else the one in the model or beside it; which one is said on standard error. With
    /// a template alone no model is needed; --bos-token and --eos-token name its special tokens
    /// then. Where the template fails, its words are the error, the exit code is 1, and nothing is
    /// printed. How templates are rendered is in docs/explanation/chat-templates.md.
    Template(template::Args),
    /// Count the tokens of texts
    ///
    /// One input gives a number alone; several give a line each, and a total. With --json: `model`,
    /// `encoding`, `accuracy` (`exact`, `family` or `heuristic`), `tokens_input`, and `inputs` with
    /// `name`, `bytes`, `tokens_input` and, with --ids, `ids`. What the labels mean is in
    /// docs/explanation/token-accounting.md.
    Tokens(tokens::Args),
    /// Say what tokens cost
    ///
    /// The input is counted from files or standard input, or given as --input-tokens. With --json:
    /// `model`, `encoding`, `accuracy`, `tokens_input`, `tokens_cached`, `tokens_output`,
    /// `tokens_reasoning`, `cost_usd_micros` (an integer), `cost_usd` (exact, as a string),
    /// `prices_as_of`, `prices_source`. The form of a price list is in
    /// docs/explanation/token-accounting.md.
    Price(price::Args),
    /// Count the tokens of lines of JSON as they pass through
    ///
    /// Each line comes out with `tokens_input` and `accuracy`; with --mode price also with
    /// `cost_usd` (exact, as a string), and with --output-field also with `tokens_output`. What a
    /// line has under these four keys is replaced, all else stays byte for byte; blank lines are
    /// left out. Lines keep their order, whatever --workers is.
    ///
    /// A line that cannot be read is reported on standard error with its number. Then, with
    /// --on-error fail, the program ends with code 1, everything before that line written; with
    /// --on-error skip, it leaves the line out and goes on. A line of more than 64 MiB ends it in
    /// any case. --max-tokens and --max-cost end it with code 3 before the line that would exceed
    /// them.
    ///
    /// --summary prints one object at the end: `rows`, `skipped`, `tokens_input`, `tokens_output`,
    /// `cost_usd` (the exact sum of the lines'), `cost_usd_micros` (that sum, rounded), `model`,
    /// `encoding`, `accuracy`.
    Pipe(pipe::Args),
    /// List the models whose tokens can be counted by name
    ///
    /// With encoding, accuracy here and now, and prices; --json prints all that is known of them.
    Models(models::Args),
    /// List the devices that models can run on
    Devices(devices::Args),
}

impl Command {
    /// Does it. Returns the exit code.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Chat(args) => chat::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Serve(args) => serve::run(args),
            Command::Inspect(args) => inspect::run(&args),
            Command::CompatCheck(args) => compat_check::run(&args),
            Command::Logits(args) => logits::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Compare(args) => compare::run(&args),
            Command::Template(args) => template::run(&args),
            Command::Tokens(args) => tokens::run(&args),
            Command::Price(args) => price::run(&args),
            Command::Pipe(args) => pipe::run(&args),
            Command::Models(args) => models::run(&args),
            Command::Devices(args) => devices::run(&args),
        }
    }
}
