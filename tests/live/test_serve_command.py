"""`justitia serve` as a user meets it: what it says, what it serves, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.server import COMMAND, LiveServer

MESSAGES = [{"role": "user", "content": "Say anything."}]


def refusal(*words: str, **environment: str) -> str:
    """Run `justitia serve` with *words*, which must fail, and return its one sentence."""
    done = subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("justitia: ")]
    assert len(sentences) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == sentences[0]
    return sentences[0]


def post(server: LiveServer, path: str, body: dict[str, object]) -> str:
    request = urllib.request.Request(
        server.base_url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return str(response.read().decode())


def test_start_up_is_readable(server: LiveServer) -> None:
    """The log names model, policy, address and KV blocks, then the moment it serves."""
    deadline = time.monotonic() + 10
    while "is serving" not in server.log() and time.monotonic() < deadline:
        time.sleep(0.1)
    log = server.log()
    assert f"Justitia is serving toy at {server.base_url}/v1" in log
    assert all(word in log for word in ("policy", "justitia", "150", "Ctrl-C to stop"))
    assert "Route:" not in log


def test_toy_answers_chat(server: LiveServer) -> None:
    """The toy model answers a chat call under the name `toy`."""
    answer = json.loads(
        post(
            server,
            "/v1/chat/completions",
            {"model": "toy", "messages": MESSAGES, "max_tokens": 8, "ignore_eos": True},
        )
    )
    assert answer["usage"]["completion_tokens"] == 8


def test_toy_obeys_a_json_schema(server: LiveServer) -> None:
    """Guided decoding makes valid JSON even of random weights."""
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}},
        "required": ["sure"],
        "additionalProperties": False,
    }
    body = {
        "model": "toy",
        "messages": MESSAGES,
        "max_tokens": 64,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
    }
    answer = json.loads(post(server, "/v1/chat/completions", body))
    assert isinstance(json.loads(answer["choices"][0]["message"]["content"])["sure"], bool)


def test_toy_calls_a_named_tool(server: LiveServer) -> None:
    """A named, strict tool is called with arguments of its schema."""
    function = {
        "name": "lookup",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"deep": {"type": "boolean"}},
            "required": ["deep"],
            "additionalProperties": False,
        },
    }
    body = {
        "model": "toy",
        "messages": MESSAGES,
        "max_tokens": 512,  # the call's envelope alone takes sixty
        "seed": 1,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "lookup"}},
    }
    answer = json.loads(post(server, "/v1/chat/completions", body))
    call = answer["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "lookup"
    assert isinstance(json.loads(call["arguments"])["deep"], bool)


def test_stock_has_no_routes_of_ours() -> None:
    """--stock is plain vLLM; Ctrl-C in the middle of streams ends it with nothing left."""
    with LiveServer("--stock") as stock:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{stock.base_url}/v1/applications", timeout=10)
        body: dict[str, object] = {
            "model": "toy",
            "prompt": "We",
            "max_tokens": 4000,
            "stream": True,
            "ignore_eos": True,
        }

        def stream() -> None:
            try:
                post(stock, "/v1/completions", body)
            except (OSError, http.client.HTTPException):
                return  # cut off, as it should be

        threads = [threading.Thread(target=stream) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert stock.stop(signum=signal.SIGINT) == 0
        for thread in threads:
            thread.join(timeout=30)


@pytest.mark.parametrize(
    ("delay_s", "signum"), [(1.0, signal.SIGTERM), (9.0, signal.SIGINT), (14.0, signal.SIGTERM)]
)
def test_stopping_during_start_up_leaves_nothing(delay_s: float, signum: int) -> None:
    """Whether vLLM is being imported or its engine is starting: exit code 0, no process."""
    starting = LiveServer("--stock")
    starting.start()
    time.sleep(delay_s)
    assert starting.stop(signum=signum) == 0


def test_missing_engine_is_one_sentence(tmp_path: Path) -> None:
    """Without vLLM the user is told how to install it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'vllm':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    assert "vLLM is not installed" in refusal("--toy", PYTHONPATH=str(tmp_path))


def test_port_in_use_is_one_sentence() -> None:
    """A port that somebody listens on is named before the engine starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        sentence = refusal("--toy", "--stock", "--port", str(port))
    assert f"port {port}" in sentence
    assert "--port" in sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--toy", "--policy", "justitai"], "did you mean justitia?"),
        ([], "say which MODEL"),
        (["--toy", "--stock", "--max-modle-len", "9"], "did you mean --max-model-len?"),
        (["--toy", "--stock", "gpt2"], "either one MODEL or --toy"),
        (["--stock", "./no/such/model"], "model not found"),
        (["--stock", "--port", "9000", "no-such-org/no-such-model"], "HF_HUB_OFFLINE"),
        (["--toy", "--idle-timeout", "0"], "--idle-timeout"),
        (["--toy", "--scheduler-cls", "a.B"], "--scheduler-cls"),
        (["--toy", "--additional-config", "[1]"], "--additional-config"),
    ],
)
def test_wrong_use_is_one_sentence(words: list[str], expected: str) -> None:
    """Whatever the user got wrong is said in one sentence, without a stack trace."""
    assert expected in refusal(*words, HF_HUB_OFFLINE="1")


def test_rust_front_end_is_refused() -> None:
    """vLLM's Rust front end cannot read hints, so it is refused beside our scheduler."""
    assert "--stock" in refusal("--toy", VLLM_USE_RUST_FRONTEND="1")


def test_help_is_quick_and_teaches() -> None:
    """`justitia serve --help` shows examples, and imports nothing heavy."""
    code = (
        "import sys; sys.argv = ['justitia', 'serve', '--help']\n"
        "from justitia_server.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'vllm', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'heavy: {heavy}' if heavy else 0)\n"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "justitia serve --toy" in done.stdout
    assert time.monotonic() - start < 5
