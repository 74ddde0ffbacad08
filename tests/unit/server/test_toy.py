"""The toy model: built once, whole, and the same for all who ask at the same time."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from justitia_server.toy import cache, ensure_toy_model


def fake_build(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model really built."""
    return ensure_toy_model(tmp_path_factory.mktemp("cache"))


def test_vocabulary_is_full_and_text_round_trips(toy: Path) -> None:
    """Every id the model can sample is a token; any text survives the tokenizer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(toy)
    assert len(tokenizer) == json.loads((toy / "config.json").read_text())["vocab_size"] == 2048
    text = "We the People: naïve ✓ <tool_call>"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_template_takes_every_role_and_tools(toy: Path) -> None:
    """System, user, assistant with a tool call, tool answer, and the tools themselves."""
    from transformers import AutoTokenizer

    call = {"type": "function", "function": {"name": "find", "arguments": '{"word": "law"}'}}
    prompt = AutoTokenizer.from_pretrained(toy).apply_chat_template(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look it up."},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "found"},
        ],
        tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert '<tool_call>{"name": "find", "arguments": {"word": "law"}}</tool_call>' in prompt
    assert prompt.startswith("<|im_start|>system\nBe brief.\nTools")
    assert prompt.endswith("<|im_start|>tool\nfound<|im_end|>\n<|im_start|>assistant\n")


def test_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second ask finds the first one's work, and no scratch directory is left."""
    monkeypatch.setattr("justitia_server.toy.build.build_toy_model", fake_build)
    first = ensure_toy_model(tmp_path)
    (first / "mark").touch()
    assert (ensure_toy_model(tmp_path) / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_a_changed_recipe_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory's name follows the recipe."""
    monkeypatch.setattr("justitia_server.toy.build.build_toy_model", fake_build)
    first = ensure_toy_model(tmp_path)
    monkeypatch.setattr(cache, "recipe_hash", lambda: "0" * 12)
    assert ensure_toy_model(tmp_path) != first


def test_a_lost_race_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finishes second takes the winner's model."""

    def build_while_another_wins(directory: Path) -> None:
        fake_build(directory)
        fake_build(tmp_path / f"toy-{cache.recipe_hash()}")

    monkeypatch.setattr("justitia_server.toy.build.build_toy_model", build_while_another_wins)
    assert (ensure_toy_model(tmp_path) / "config.json").exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    """Two real processes asking together get the same whole model."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.map(ensure_toy_model, [tmp_path, tmp_path])
    assert paths[0] == paths[1]
    assert (paths[0] / "model.safetensors").exists()
    assert len(list(tmp_path.iterdir())) == 1
