//! Why a tokenizer did not arrive.

use bitnet_provisioning::download::DownloadError;

/// The tokenizer did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Nothing usable came over the network.
    #[error(
        "Network error downloading tokenizer (attempt {attempt}/{attempts})\n\
         \n\
         Troubleshooting:\n\
         1. Check internet connectivity\n\
         2. Verify proxy settings (HTTP_PROXY, HTTPS_PROXY)\n\
         3. {other_source}"
    )]
    Network {
        /// The attempt that failed last.
        attempt: u32,
        /// Attempts allowed in a row.
        attempts: u32,
        /// The other source to try.
        other_source: &'static str,
        /// What happened.
        source: DownloadError,
    },
    /// No access.
    #[error(
        "Authentication failed: {reason}\n\
         \n\
         Setup instructions:\n\
         1. Accept LLaMA-3 license: https://huggingface.co/meta-llama/Meta-Llama-3-8B\n\
         2. Generate token: https://huggingface.co/settings/tokens\n\
         3. Export token: export HF_TOKEN=<your-token>\n\
         \n\
         Alternative: {alternative}"
    )]
    Auth {
        /// Who wanted what.
        reason: &'static str,
        /// A way that needs no token.
        alternative: String,
        /// What the server said, if it was asked.
        source: Option<DownloadError>,
    },
    /// The file is there or came, but is not the tokenizer.
    #[error(
        "Tokenizer validation failed: {reason}\n\
         \n\
         Solution: Re-download tokenizer\n\
         {command}"
    )]
    Validation {
        /// What is wrong with it.
        reason: String,
        /// What to run.
        command: String,
    },
}
