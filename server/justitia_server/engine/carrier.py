"""
How the API process tells the engine process of a call: one JSON string in `extra_args`.

`SamplingParams.extra_args` survives vLLM's own serialisation between the processes. The string
is written by our API process only; what a client puts under the same key is removed there. Every
call brings its application's facts along, since the engine may have forgotten them; they are the
same in all its calls, and decoded once.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from justitia_sdk.errors import AccountingError

from ..fairness.accounts import ApplicationFacts, CallFacts

EXTRA_ARGS_KEY = "justitia"
NUM_APPLICATIONS_KEPT = 1024  # whose facts need not be decoded again
_encoder = msgspec.json.Encoder()
_pair_decoder = msgspec.json.Decoder(tuple[msgspec.Raw, CallFacts])
_application_decoder = msgspec.json.Decoder(ApplicationFacts)


def pack(application: ApplicationFacts, call: CallFacts) -> str:
    """Return both as one JSON string: a list of two objects."""
    return _encoder.encode((application, call)).decode()


def unpack(text: str) -> tuple[ApplicationFacts, CallFacts]:
    """
    Read what `pack` wrote.

    Raises:
        AccountingError: It is something else.
    """
    try:
        application, call = _pair_decoder.decode(text)
        return _application(bytes(application)), call
    except (TypeError, ValueError) as exc:
        raise AccountingError(f"extra_args[{EXTRA_ARGS_KEY!r}] is not ours: {exc}") from exc


@lru_cache(maxsize=NUM_APPLICATIONS_KEPT)
def _application(encoded: bytes) -> ApplicationFacts:
    return _application_decoder.decode(encoded)
