"""A GGUF file of the architecture `bitnet-b1.58` as transformers' own BitNetForCausalLM."""

import torch
from transformers import BitNetConfig, BitNetForCausalLM, BitNetQuantConfig, DynamicCache
from transformers.integrations.bitnet import replace_with_bitnet_linear

from gguf_file import Unreadable, plain, ternary

# `bitnet-25` is its older name.
ARCHITECTURES = ("bitnet-b1.58", "bitnet-25")

NORMS = {
    "attn_norm": "input_layernorm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
}
LINEARS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def config_of(file):
    architecture = file.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise Unreadable(f"unknown model architecture: '{architecture}'; read here is bitnet-b1.58")

    def value(key, *default):
        found = file.metadata.get(f"{architecture}.{key}", *default)
        if found is None:
            raise Unreadable(f"the file lacks {architecture}.{key}")
        return found

    scaling = value("rope.scaling.type", "none")
    if scaling != "none":
        raise Unreadable(f"{architecture}.rope.scaling.type is `{scaling}`; read here is `none`")
    heads = value("attention.head_count")
    rows, hidden = file.tensors["token_embd.weight"].shape
    return BitNetConfig(
        vocab_size=rows,
        hidden_size=hidden,
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=value("attention.head_count_kv", heads),
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base", 10000.0)},
        hidden_act="relu2",
        tie_word_embeddings="output.weight" not in file.tensors,
    )


def state_of(file, config):
    """The weights under transformers' names. Every tensor of the file is used, none is missing."""
    left = dict(file.tensors)

    def take(name):
        if name not in left:
            raise Unreadable(f"the file lacks the tensor `{name}`")
        return name, left.pop(name)

    state = {
        "model.embed_tokens.weight": plain(*take("token_embd.weight")),
        "model.norm.weight": plain(*take("output_norm.weight")),
    }
    tied = config.tie_word_embeddings
    embedding = state["model.embed_tokens.weight"]
    state["lm_head.weight"] = embedding if tied else plain(*take("output.weight"))
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"blk.{layer}.", f"model.layers.{layer}."
        for name, module in NORMS.items():
            state[f"{theirs}{module}.weight"] = plain(*take(f"{ours}{name}.weight"))
        for name, module in LINEARS.items():
            trits, scale = ternary(*take(f"{ours}{name}.weight"))
            state[f"{theirs}{module}.weight"] = trits
            state[f"{theirs}{module}.weight_scale"] = torch.tensor([scale])
    if left:
        raise Unreadable(f"the file has tensors that no part of the model reads: {', '.join(left)}")
    return state


class Model:
    """An open model with the sequence that it has read so far."""

    def __init__(self, file, attention):
        if "token_embd.weight" not in file.tensors:
            raise Unreadable("the file lacks the tensor `token_embd.weight`")
        self.config = config_of(file)
        self.config._attn_implementation = attention
        state = state_of(file, self.config)
        with torch.device("meta"):
            model = BitNetForCausalLM(self.config)
        # Ternary weights with a scale of their own, and activations in 8 bits by the token.
        quantization = BitNetQuantConfig(
            linear_class="autobitlinear", quantization_mode="offline", use_rms_norm=False
        )
        replace_with_bitnet_linear(model, ["lm_head"], quantization)
        try:
            model.load_state_dict(state, strict=True, assign=True)
        except RuntimeError as error:
            raise Unreadable(str(error)) from error
        # What no state holds.
        rotary = type(model.model.rotary_emb)(self.config)
        model.model.rotary_emb = rotary
        self.model = model.eval()
        self.streams = []
        for layer in model.model.layers:
            layer.register_forward_hook(self._saw)
        self.reset()

    def _saw(self, _layer, _inputs, output):
        self.streams.append(output)

    def reset(self):
        """Forgets the sequence."""
        self.cache = DynamicCache(config=self.config)

    @torch.inference_mode()
    def step(self, tokens):
        """Reads `tokens`: their logits, and per layer the residual stream behind it."""
        self.streams.clear()
        out = self.model(torch.tensor([tokens]), past_key_values=self.cache, use_cache=True)
        return out.logits[0], [stream[0] for stream in self.streams]
