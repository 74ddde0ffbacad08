"""
How the API process tells the engine process of a call: one JSON string in `extra_args`.

`SamplingParams.extra_args` survives vLLM's own serialisation between the processes. The string
is written by our API process only; what a client puts under the same key is removed there.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter

import msgspec

from justitia_sdk.errors import AccountingError

from ..fairness.accounts import ApplicationFacts, CallFacts

EXTRA_ARGS_KEY = "justitia"
_application_values = attrgetter(*(field.name for field in fields(ApplicationFacts)))
_call_values = attrgetter(*(field.name for field in fields(CallFacts)))


def pack(application: ApplicationFacts, call: CallFacts) -> str:
    """Return both as one JSON string: two lists of values, in the order of the fields."""
    values = (_application_values(application), _call_values(call))
    return msgspec.json.encode(values).decode()


def unpack(text: str) -> tuple[ApplicationFacts, CallFacts]:
    """
    Read what `pack` wrote.

    Raises:
        AccountingError: It is something else.
    """
    try:
        application, call = msgspec.json.decode(text)
        return ApplicationFacts(*application), CallFacts(*call)
    except (TypeError, ValueError) as exc:
        raise AccountingError(f"extra_args[{EXTRA_ARGS_KEY!r}] is not ours: {exc}") from exc
