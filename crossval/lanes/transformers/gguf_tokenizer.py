"""The tokenizer inside a GGUF file as one of Hugging Face's tokenizers."""

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from gguf_file import Unreadable

CONTROL, USER_DEFINED = 3, 4

# How `tokenizer.ggml.pre` cuts a text into words; a file of this architecture without it is
# LLaMA-3's.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
WORDS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "llama-bpe": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


class GgufTokenizer:
    @staticmethod
    def of(file):
        """The file's tokenizer, or None where it has none that is byte-level BPE."""
        return GgufTokenizer(file) if file.metadata.get("tokenizer.ggml.model") == "gpt2" else None

    def __init__(self, file):
        metadata = file.metadata
        pre = metadata.get("tokenizer.ggml.pre", "llama-bpe")
        if pre not in WORDS:
            raise Unreadable(f"tokenizer.ggml.pre is `{pre}`; read here are {', '.join(WORDS)}")
        texts = metadata["tokenizer.ggml.tokens"]
        kinds = metadata.get("tokenizer.ggml.token_type", [1] * len(texts))
        merges = [tuple(merge.split(" ", 1)) for merge in metadata.get("tokenizer.ggml.merges", [])]
        llama_3 = pre == "llama-bpe"
        begin = metadata.get("tokenizer.ggml.bos_token_id")
        adds = metadata.get("tokenizer.ggml.add_bos_token", llama_3)
        self.begin = [begin] if adds and begin is not None else []

        def build(added):
            bpe = models.BPE(dict(zip(texts, range(len(texts)))), merges, ignore_merges=llama_3)
            tokenizer = Tokenizer(bpe)
            tokenizer.pre_tokenizer = WORDS[pre]
            named = [text for text, kind in zip(texts, kinds) if kind in added]
            tokens = [AddedToken(text, normalized=False) for text in named]
            tokenizer.add_special_tokens(tokens)
            return tokenizer

        # Tokens that the user defined are read in any text, control tokens where that is wanted.
        self.text = build((USER_DEFINED,))
        self.with_control = build((USER_DEFINED, CONTROL))

    def encode(self, text, add_special, parse_special):
        tokenizer = self.with_control if parse_special else self.text
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return (self.begin if add_special else []) + ids
