"""
LiteLLM: its calls carry hints, whichever of its two ways they take to the server.

Models such as ``openai/…`` go through the official client, which is instrumented; others, such as
``hosted_vllm/…``, through LiteLLM's own HTTP handlers, which are taken at `post`. Both lie below
LiteLLM's cache and logging. Callbacks would be the wrong place: they see a call when it is over,
in other threads. Its functions and its router are taken as well, so that a call keeps its id over
their retries and fallbacks, and so are those of its threads that lose the scope.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import justitia_sdk
from justitia_sdk import Plan

from ._adapter import Method, Patches, logger, switch_off, switch_on
from ._wire import heard, hints_for, number_attempts, one_call

try:
    import litellm
    from litellm.batch_completion import main as batches
    from litellm.integrations.custom_logger import CustomLogger
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler
except ImportError as exc:
    raise ImportError("This integration needs LiteLLM: pip install justitia-sdk[litellm]") from exc

F = TypeVar("F", bound=Callable[..., Any])

_FUNCTIONS = ("completion", "text_completion", "responses", "embedding")
_HEADERS_PLACE = 3  # of `post`, among its arguments after the URL

_patches = Patches()


def instrument() -> None:
    """
    Let every call of LiteLLM that is made inside an application carry hints.

    LiteLLM knows calls, not runs: open the application yourself, or use `application`. A call keeps
    its id over the retries of the client, of ``num_retries`` and of a router.

    Changes: LiteLLM's HTTP handlers, functions and router, and the official client
    (`justitia_sdk.instrument`); a second call changes nothing.
    """
    switch_on(__name__)
    if _patches.is_on:
        return
    for take in (_take_handlers, _take_calls, _take_threads):
        try:
            take()
        except Exception:
            logger.warning("litellm_taken_in_part", exc_info=True)


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on opening applications."""
    _patches.undo()
    switch_off(__name__)


def is_on() -> bool:
    """Whether `instrument` is in force."""
    return _patches.is_on


def application(
    thing: F,
    name: str | None = None,
    *,
    input: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> F:
    """
    Return *thing*, every run of which is an application of its own.

    Inside another application it is a part of that one. For its calls to carry hints, call
    `instrument`.

    Args:
        thing: A function that calls LiteLLM: plain, asynchronous or a generator.
        name: The kind of application; the function's name by default.
        input: What runs work on, if that is known here.
        plan: The structure, if known.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    named = getattr(thing, "__name__", type(thing).__name__) if name is None else name
    scope = justitia_sdk.application(
        named, input=input, plan=plan, weight=weight, deadline_s=deadline_s
    )
    return scope(thing)  # type: ignore[return-value]  # of the same kind


def plan_of(thing: object) -> Plan | None:
    """Return None: LiteLLM sees one call at a time."""
    return None


# The wire


def _take_handlers() -> None:
    _patches.replace(HTTPHandler, "post", _hinting)
    _patches.replace(AsyncHTTPHandler, "post", _hinting_async)


def _hinting(original: Method) -> Method:
    def post(self: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        kwargs = _with_hints(url, args, kwargs)
        try:
            response = original(self, url, *args, **kwargs)
        except Exception as exc:
            _hear(url, getattr(exc, "response", None), is_good=False)
            raise
        _hear(url, response, is_good=True)
        return response

    return post


def _hinting_async(original: Method) -> Method:
    async def post(self: Any, url: str, *args: Any, **kwargs: Any) -> Any:
        kwargs = _with_hints(url, args, kwargs)
        try:
            response = await original(self, url, *args, **kwargs)
        except Exception as exc:
            _hear(url, getattr(exc, "response", None), is_good=False)
            raise
        _hear(url, response, is_good=True)
        return response

    return post


def _with_hints(url: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    if len(args) > _HEADERS_PLACE:
        return kwargs
    given = kwargs.get("headers") or {}
    hints = hints_for(url, given.items())
    return {**kwargs, "headers": {**given, **hints}} if hints else kwargs


def _hear(url: str, response: Any, *, is_good: bool) -> None:
    if response is not None:
        heard(url, response.headers.items(), is_good=is_good)


# Calls over their attempts


def _take_calls() -> None:
    number_attempts(_patches)
    for name in _FUNCTIONS:
        _patches.replace(litellm, name, one_call)
        _patches.replace(litellm, f"a{name}", one_call)
    module = _router_module()
    router = getattr(module, "PythonCore", None) or module.Router
    _patches.replace(router, "async_function_with_fallbacks", one_call)


def _router_module() -> ModuleType:
    """Return where the router's logic is: in a module of its own since LiteLLM 1.109."""
    try:
        return import_module("litellm.router_python_core")
    except ImportError:
        return import_module("litellm.router")


# Threads


def _take_threads() -> None:
    _patches.replace(batches, "ThreadPoolExecutor", _scoped_pool)
    _patches.replace(_router_module(), "run_async_function", _scoped_run)


def _scoped_pool(original: Callable[..., Executor]) -> Method:
    def pool(*args: Any, **kwargs: Any) -> Executor:
        return justitia_sdk.wrap_executor(original(*args, **kwargs))

    return pool


def _scoped_run(original: Method) -> Method:
    # Within a running event loop the router's synchronous methods work in a thread.
    def run_async_function(function: Method, *args: Any, **kwargs: Any) -> Any:
        return original(justitia_sdk.copy_scope(function), *args, **kwargs)

    return run_async_function


# The proxy


class Forwarding(CustomLogger):  # type: ignore[misc]
    """
    Lets hints through LiteLLM's proxy, which by itself forwards ``x-…`` headers at most.

    In the proxy's configuration, where it is installed::

        litellm_settings:
          callbacks: justitia_integrations.litellm.forwarding
    """

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Return *data*, a request to the proxy, with its hints for the model's server."""
        came = (data.get("proxy_server_request") or {}).get("headers") or {}
        hints = {name: came[name] for name in came if name.lower().startswith("justitia-")}
        return {**data, "extra_headers": {**hints, **(data.get("extra_headers") or {})}}


forwarding = Forwarding()
