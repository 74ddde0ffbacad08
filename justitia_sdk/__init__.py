"""
Justitia's SDK: tells the server which LLM calls belong together.

Light to import: the clients, and with them the official OpenAI library, load when first used.
"""

from typing import TYPE_CHECKING, Any

from . import errors
from .applications import Application, Handle, current_application
from .context import current_stage
from .doctor import configure, outside_calls
from .instrumentation import instrument, is_instrumented, uninstrument, wrap
from .joining import join
from .plan import Plan, Stage
from .receipts import Receipt
from .scopes import application
from .threads import copy_scope, wrap_executor, wrap_thread

if TYPE_CHECKING:
    from .clients import AsyncOpenAI, OpenAI

__all__ = [
    "Application",
    "AsyncOpenAI",
    "Handle",
    "OpenAI",
    "Plan",
    "Receipt",
    "Stage",
    "application",
    "configure",
    "copy_scope",
    "current_application",
    "current_stage",
    "errors",
    "instrument",
    "is_instrumented",
    "join",
    "outside_calls",
    "uninstrument",
    "wrap",
    "wrap_executor",
    "wrap_thread",
]


def __getattr__(name: str) -> Any:
    if name in {"AsyncOpenAI", "OpenAI"}:
        from . import clients

        return getattr(clients, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("justitia-sdk")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
