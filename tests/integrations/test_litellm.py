"""What is LiteLLM's own: two ways to the server, retries, a router, threads, a proxy."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import litellm
import openai
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm.llms.custom_httpx.http_handler import HTTPHandler

import justitia_integrations.litellm as integration
import justitia_sdk as justitia

ROOT = Path(__file__).parents[2]
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def _instrumented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    integration.instrument()
    yield
    integration.uninstrument()
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(params=["openai", "hosted_vllm"])
def options(request: pytest.FixtureRequest, server: Any) -> dict[str, Any]:
    """Return the arguments of a call by the official client, and by LiteLLM's own handler."""
    model = f"{request.param}/toy"
    return {"model": model, "messages": MESSAGES, "api_base": server.base_url, "api_key": "key"}


async def by_completion(options: dict[str, Any]) -> str:
    return str(litellm.completion(**options).choices[0].message.content)


async def by_acompletion(options: dict[str, Any]) -> str:
    return str((await litellm.acompletion(**options)).choices[0].message.content)


async def by_stream(options: dict[str, Any]) -> str:
    parts = litellm.completion(**options, stream=True)
    return "".join(part.choices[0].delta.content or "" for part in parts)


async def by_astream(options: dict[str, Any]) -> str:
    parts = await litellm.acompletion(**options, stream=True)
    return "".join([part.choices[0].delta.content or "" async for part in parts])


async def by_router(options: dict[str, Any]) -> str:
    return str(router(options).completion("m", MESSAGES).choices[0].message.content)


async def by_arouter(options: dict[str, Any]) -> str:
    reply = await router(options).acompletion("m", MESSAGES)
    return str(reply.choices[0].message.content)


def router(options: dict[str, Any], **settings: Any) -> litellm.Router:
    params = {name: value for name, value in options.items() if name != "messages"}
    models = [{"model_name": name, "litellm_params": params} for name in ("m", "n")]
    return litellm.Router(model_list=models, **{"num_retries": 0, "retry_after": 0, **settings})


WAYS = [by_completion, by_acompletion, by_stream, by_astream, by_router, by_arouter]


def attempts(server: Any) -> list[tuple[str, int]]:
    return [(hints.call.call, hints.call.attempt) for hints in server.hints]


# Both ways to the server


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_carries_hints(options: Any, justitia_server: Any, way: Any) -> None:
    """Every call bears the application and its stage, and the end is told once."""
    async with justitia.application("triage") as app:
        with app.stage("map"):
            assert [await way(options) for _ in range(2)] == ["hello"] * 2
    assert justitia_server.apps == {app.app_id}
    assert justitia_server.stages == [("map", 0)] * 2
    assert len(set(attempts(justitia_server))) == len(justitia_server.calls) == 2
    assert justitia_server.finished() == [app.app_id]


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_sent_outside(options: Any, server: Any, way: Any) -> None:
    """Without an application, a call is what it was."""
    await way(options)
    assert not [name for name in server.calls[0].headers if "justitia" in name]


async def test_both_ways_are_one_server(justitia_server: Any) -> None:
    """A server reached both ways hears of the end once."""
    base = {"messages": MESSAGES, "api_base": justitia_server.base_url, "api_key": "key"}
    async with justitia.application("triage") as app:
        await by_acompletion({"model": "openai/toy", **base})
        await by_acompletion({"model": "hosted_vllm/toy", **base})
    assert justitia_server.finished() == [app.app_id]


@pytest.mark.parametrize("model", ["text-completion-openai/toy", "hosted_vllm/toy"])
@pytest.mark.parametrize("is_async", [False, True])
def test_text_completions_carry_hints(server: Any, model: str, is_async: bool) -> None:
    """So do prompts without messages."""
    asked = {"model": model, "prompt": "hi", "api_base": server.base_url, "api_key": "key"}
    with justitia.application("triage") as app:
        if is_async:
            asyncio.run(litellm.atext_completion(**asked))
        else:
            litellm.text_completion(**asked)
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == 1


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
@pytest.mark.parametrize("function", ["responses", "embedding"])
def test_other_endpoints_carry_hints(server: Any, provider: str, function: str) -> None:
    """The fake server knows none of them, so no answer is to be had."""
    server.failures.append(400)
    asked = {"model": f"{provider}/toy", "input": "hi", "max_retries": 0}
    with suppress(Exception), justitia.application("triage") as app:
        getattr(litellm, function)(**asked, api_base=server.base_url, api_key="key")
    (request,) = [each for each in server.requests if each.method == "POST"]
    assert request.hints.application.app == app.app_id


async def test_headers_of_the_users_own_stay(options: Any, server: Any) -> None:
    """Hints travel beside them."""
    with justitia.application("triage"):
        await by_acompletion({**options, "extra_headers": {"X-Mine": "1"}})
    assert server.calls[0].headers["x-mine"] == "1"
    assert len(server.hints) == 1


async def test_a_refusal_is_heard(options: Any, justitia_server: Any) -> None:
    """A server that has only refused is known by its reply, and told of the end."""
    justitia_server.failures.append(400)
    with pytest.raises(litellm.BadRequestError), justitia.application("triage") as app:
        litellm.completion(**options, max_retries=0)
    assert justitia_server.finished() == [app.app_id]


def test_other_requests_carry_nothing(server: Any) -> None:
    """What LiteLLM sends to others, as to collectors of logs, is no concern of the server's."""
    with justitia.application("triage"):
        HTTPHandler().post(server.base_url + "/ingestion/finish", json={})
    assert [request.hints for request in server.requests] == [None]


def test_strict_mode_raises_what_it_says(options: Any, server: Any) -> None:
    """LiteLLM makes errors of its own of whatever goes wrong; misuse is told as such."""
    justitia.configure(strict=True)
    try:
        with pytest.raises(justitia.errors.NoActiveApplication):
            litellm.completion(**options)
    finally:
        justitia.configure(strict=False)
    assert server.calls == []


# Attempts


@pytest.mark.parametrize("way", [by_completion, by_acompletion])
async def test_retries_are_attempts_at_one_call(options: Any, server: Any, way: Any) -> None:
    """The client's own retries and those of `num_retries` on top of them count on."""
    server.failures.extend([500, 500])
    with justitia.application("triage"):
        answer = await way({**options, "num_retries": 2})
        server.failures.append(500)
        again = await way({**options, "num_retries": 2})
    assert answer == again == "hello"
    first, second = attempts(server)[:3], attempts(server)[3:]
    assert [number for _, number in first] == [0, 1, 2]
    assert [number for _, number in second] == [0, 1]
    assert len({call for call, _ in first}) == len({call for call, _ in second}) == 1
    assert first[0] != second[0]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_routers_retries_and_fallbacks_are_one_call(
    options: Any, server: Any, is_async: bool
) -> None:
    """Whichever deployment answers in the end."""
    asked = {**options, "max_retries": 0}
    route = router(asked, num_retries=1, fallbacks=[{"m": ["n"]}])
    server.failures.extend([500, 500])
    with justitia.application("triage"):
        if is_async:
            asyncio.run(route.acompletion("m", MESSAGES))
        else:
            route.completion("m", MESSAGES)
    calls = attempts(server)
    assert [number for _, number in calls] == [0, 1, 2]
    assert len({call for call, _ in calls}) == 1


async def test_concurrent_calls_keep_their_ids(options: Any, server: Any) -> None:
    """One that fails takes nothing from another."""
    server.failures.extend([500, 500])
    with justitia.application("triage"):
        asked = [by_acompletion({**options, "num_retries": 2}) for _ in range(4)]
        await asyncio.gather(*asked)
    calls = attempts(server)
    assert len(calls) == len(set(calls)) == 6
    assert len({call for call, _ in calls}) == 4


# Threads


async def test_a_router_in_a_running_loop_keeps_the_scope(options: Any, server: Any) -> None:
    """There its synchronous methods work in a thread of their own."""
    with justitia.application("triage") as app:
        await by_router(options)
    assert server.apps == {app.app_id}


def test_batches_keep_the_scope(options: Any, server: Any) -> None:
    """So do the threads of `batch_completion` and `batch_completion_models`."""
    with justitia.application("triage") as app, app.stage("map"):
        litellm.batch_completion(**{**options, "messages": [MESSAGES] * 3})
        several = {name: value for name, value in options.items() if name != "model"}
        litellm.batch_completion_models(models=[options["model"]] * 2, **several)
    assert server.apps == {app.app_id}
    assert server.stages == [("map", 0)] * 5


def wait_for(condition: Any, *, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Log(CustomLogger):  # type: ignore[misc]
    """A user's logger, which LiteLLM calls when a call is over: what was said, and where."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        super().__init__()

    def log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
        app = justitia.current_application()
        self.seen.append((kwargs["messages"][0]["content"], app and app.type))

    async def async_log_success_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
        self.log_success_event(kwargs)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    for name in ("callbacks", "success_callback", "_async_success_callback"):
        monkeypatch.setattr(litellm, name, [log])
    return log


@pytest.mark.parametrize("way", [by_completion, by_acompletion])
def test_logging_sees_its_own_application(options: Any, server: Any, way: Any, log: Log) -> None:
    """Callbacks run later, in threads and tasks that live on; none keeps another's scope."""

    async def say(text: str) -> None:
        await way({**options, "messages": [{"role": "user", "content": text}]})

    async def three() -> None:
        for name in ("one", "two"):
            with justitia.application(name):
                await say(name)
        await say("none")
        await asyncio.to_thread(wait_for, lambda: len(set(log.seen)) == 3)

    asyncio.run(three())
    assert set(log.seen) == {("none", None), ("one", "one"), ("two", "two")}


async def test_a_cancelled_call_leaves_nothing(options: Any, justitia_server: Any) -> None:
    """Given up in the midst of it, the call's application ends and the next is another's."""
    justitia_server.failures.append("hang")

    async def call() -> None:
        async with justitia.application("cancelled"):
            await by_acompletion(options)

    task = asyncio.create_task(call())
    assert await asyncio.to_thread(justitia_server.is_hanging.wait, 10.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert justitia.current_application() is None
    async with justitia.application("next") as app:
        await by_acompletion(options)
    assert justitia_server.hints[-1].application.app == app.app_id
    assert justitia_server.hints[-1].call.attempt == 0


def test_threads_of_the_users_own_get_nothing_unasked(options: Any, server: Any) -> None:
    """LiteLLM's threads are mended, nobody else's are touched."""
    with justitia.application("triage"):
        thread = threading.Thread(target=lambda: litellm.completion(**options))
        thread.start()
        thread.join()
    assert server.hints == []
    assert len(server.calls) == 1


# The proxy


@pytest.fixture
def proxy_url(server: Any, tmp_path: Path) -> Iterator[str]:
    """Return the address of LiteLLM's proxy before the server, with our callback."""
    params = {"model": "hosted_vllm/toy", "api_base": server.base_url, "api_key": "key"}
    config = {
        "model_list": [{"model_name": "toy", "litellm_params": params}],
        "litellm_settings": {"callbacks": "justitia_integrations.litellm.forwarding"},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    path = tmp_path / "proxy.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")  # which is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "import litellm; litellm.run_server()"]
    options = ["--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        try:
            wait_for(lambda: is_up(port), timeout_s=120.0)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.slow
def test_hints_pass_the_proxy(justitia_server: Any, proxy_url: str) -> None:
    """The server learns who calls; that it is a Justitia server, nobody learns through a proxy."""
    client = openai.OpenAI(base_url=proxy_url, max_retries=0)
    with client, justitia.application("triage") as app, app.stage("map"):
        client.chat.completions.create(model="toy", messages=MESSAGES)
    assert justitia_server.apps == {app.app_id}
    assert justitia_server.stages == [("map", 0)]
    assert justitia_server.finished() == []


# The page and the example


def test_page_runs(justitia_server: Any) -> None:
    """The page runs as it stands: its calls are hinted, its applications' ends are told."""
    page = ROOT / "docs" / "litellm.md"
    integration.uninstrument()
    names: dict[str, Any] = {"__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    types = [hints.application.type for hints in justitia_server.hints]
    assert types == ["contract_review"] * 4 + ["clause_check"]
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


@pytest.mark.live
def test_example_runs(live_url: str) -> None:
    """The example runs as a user would run it; the server's books say what it was."""
    before = {each["id"] for each in applications(live_url)}
    command = [sys.executable, str(ROOT / "examples" / "litellm_calls.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    new = [each for each in applications(live_url) if each["id"] not in before]
    assert [each["calls"]["done"] for each in new if each["type"] == "ticket"] == [4, 4]


def applications(live_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=30) as response:
        return list(json.load(response)["data"])


# What is promised besides


def test_application_takes_functions(server: Any) -> None:
    """A router makes calls, not runs: to wrap it is a mistake, which is told."""
    route = litellm.Router(model_list=[])
    with pytest.raises(justitia.errors.ConfigurationError):
        integration.application(route, "named")


def test_the_other_integrations_do_without_litellm() -> None:
    """It is slow to import, so nothing else of ours does."""
    code = (
        "import sys, justitia_sdk, justitia_integrations\n"
        "from justitia_integrations import _adapter, _wire\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
