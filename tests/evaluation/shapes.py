"""
Models of given shapes without their weights: `vllm serve DIR --load-format dummy` times them truly.

A configuration as published for the model, and the toy model's tokenizer, which is never needed:
prompts go in as token ids.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from justitia_server.toy import ensure_toy_model

_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SHAPES: dict[str, dict[str, Any]] = {
    "Llama-2-7B": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32000,
        "max_position_embeddings": 4096,
    },
    "Llama-3-8B": {  # and 3.1, but for the positions
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rope_theta": 500000.0,
    },
    "tiny": {  # to try the way on a CPU
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32000,
        "max_position_embeddings": 8192,
    },
}  # fmt: skip


def write_shape(name: str, directory: Path) -> Path:
    """Write the model *name* into *directory* and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in ensure_toy_model().iterdir():
        if file.name.startswith(("tokenizer", "special_tokens", "chat_template")):
            shutil.copy(file, directory / file.name)
    (directory / "config.json").write_text(json.dumps(_LLAMA | SHAPES[name], indent=1))
    return directory
