"""
The recipe of the toy model: a seeded random Llama and a byte-level BPE tokenizer.

Small enough to build in seconds and to serve thousands of tokens a second on two cores; real
enough (attention, KV cache, tokenizer, chat template, tools) that nothing else need be mocked.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

VOCABULARY_SIZE = 2048
MAX_POSITIONS = 8192
SEED = 0

PAD, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_SPECIAL_TOKENS = [PAD, TURN_START, TURN_END]


def build_toy_model(directory: Path) -> None:
    """Write model, tokenizer and chat template to *directory*, which is created."""
    directory.mkdir(parents=True)
    tokenizer = _train_tokenizer()
    tokenizer.save_pretrained(directory)
    model = _random_llama(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(directory)


def _train_tokenizer() -> Any:
    """Train a byte-level BPE on the shipped text: any input round-trips, none is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=_SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_shipped("corpus.txt").splitlines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=PAD,
        additional_special_tokens=[TURN_START],
        model_max_length=MAX_POSITIONS,
        chat_template=_shipped("chat_template.jinja"),
    )


def _random_llama(*, eos_token_id: int, pad_token_id: int) -> Any:
    """Draw the weights from a fixed seed, leaving the caller's random state as it was."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        # Two heads of 32: the narrowest head that the CPU and GPU attention kernels share.
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=MAX_POSITIONS,
        bos_token_id=None,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
        # Tied, a random model would only repeat its last token.
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=eos_token_id, pad_token_id=pad_token_id)
    return model


def _shipped(name: str) -> str:
    """Return the text of a file of this package."""
    return resources.files("justitia_server.toy").joinpath(name).read_text(encoding="utf-8")
