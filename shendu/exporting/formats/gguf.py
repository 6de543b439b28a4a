"""GGUF: the file that llama.cpp and its kin read, with the tokenizer in it. Run by transformers, whose readers and networks are its own.

It holds no graph but the weights of an architecture that these know; a system says which one its networks are (`ggml`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from shendu.data.tokens import ALPHABET
from shendu.errors import UserError
from shendu.exporting.format import Arrays, Format, Runs, Usage
from shendu.exporting.graph import Made, quiet

NORMAL, UNKNOWN = 1, 2
"""Kinds of tokens."""
SIGN = {byte: letter for letter, byte in ALPHABET.items()}
NEVER = SIGN[0]
"""A token that no text has: it stands for a text's end, which llama.cpp else takes the token 11 for."""


class Gguf(Format):
    """One file, in float32."""

    name: ClassVar[str] = "gguf"
    suffix: ClassVar[str] = ".gguf"
    needs: ClassVar[tuple[str, ...]] = ("gguf", "transformers", "accelerate")
    extra: ClassVar[str] = "gguf"

    def write(self, made: Made, place: Path) -> None:
        if made.layout is None:
            raise UserError(
                f"{made.system} has no GGUF, which holds language models that llama.cpp knows; try --format onnx"
            )
        import gguf

        architecture, sizes, tensors = made.layout(made.model)
        told = vocabulary(made.task.settings["tokenizer"])
        writer = gguf.GGUFWriter(place, architecture)
        writer.add_name(f"{made.system} on {made.data}")
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        for key, value in sizes.items():
            add: Any = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(f"{architecture}.{key}", value)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(told["tokens"])
        writer.add_token_types([UNKNOWN if i == 0 and told["unknown"] else NORMAL for i in range(len(told["tokens"]))])
        writer.add_token_merges(told["merges"])
        writer.add_add_bos_token(False)
        if NEVER in told["tokens"]:
            writer.add_eos_token_id(told["tokens"].index(NEVER))
        for name, t in tensors.items():
            writer.add_tensor(name, t.detach().float().contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def runs(self, made: Made, place: Path) -> Runs:
        from transformers import AutoConfig, AutoModelForCausalLM

        where: dict[str, Any] = {"pretrained_model_name_or_path": place.parent, "gguf_file": place.name}
        with quiet():
            config = AutoConfig.from_pretrained(**where)
            config.update(unread(config))
            model = AutoModelForCausalLM.from_pretrained(**where, config=config, dtype=torch.float32).eval()

        def run(given: Arrays) -> Arrays:
            with torch.no_grad():
                return {"logits": model(torch.from_numpy(given["x"])).logits.numpy()}

        return run

    def usage(self, name: str) -> Usage:
        return Usage(
            ("import torch", "from transformers import AutoConfig, AutoModelForCausalLM"),
            (
                f'config = AutoConfig.from_pretrained(".", gguf_file="{name}")',
                f"config.update({UNREAD})",
                f'model = AutoModelForCausalLM.from_pretrained(".", gguf_file="{name}", config=config, dtype=torch.float32)',
                'said = model(torch.from_numpy(given["x"])).logits.detach().numpy()',
            ),
        )


FORMAT = Gguf()
UNREAD = '{"n_positions": config.to_dict().get("n_ctx"), "head_dim": config.hidden_size // config.num_attention_heads}'
"""What transformers 5 does not read of a file's sizes, as Python says it."""


def unread(config: Any) -> dict[str, Any]:
    """The same."""
    size = config.hidden_size // config.num_attention_heads
    return {"n_positions": config.to_dict().get("n_ctx"), "head_dim": size}


def vocabulary(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Tokens, merges, and whether the first token is unknown, of a tokenizer as JSON; raises UserError for letters of several bytes,
    which GGUF's tokenizer joins of bytes that must be tokens, too."""
    if "merges" in tokenizer:
        merges = [" ".join(pair) for pair in tokenizer["merges"]]
        return {"tokens": tokenizer["tokens"], "merges": merges, "unknown": False}
    letters = tokenizer["letters"]
    if far := [letter for letter in letters if not letter.isascii()]:
        raise UserError(
            f"a tokenizer of characters with {far[0]!r} has no GGUF, whose tokens are made of bytes; train with --set tokenizer=bpe:1000"
        )
    return {
        "tokens": ["[UNK]", *(SIGN[ord(letter)] for letter in letters)],
        "merges": [f"{NEVER} {NEVER}"],
        "unknown": True,
    }  # llama.cpp wants one
