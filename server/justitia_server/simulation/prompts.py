"""
Prompts of made-up tokens that share what the workload says they share.

Without prefix caching only their length counts. With it, the leading `shared_prefix_tokens` of a
call are the same in every application of the type, or in every call of the application; the rest is
the call's own. Samples of a call have one prompt.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

from .workload import Application, Call

_VOCABULARY = 100  # within that of the absent model


def prompt_of(application: Application, call: Call) -> array[int]:
    """Return the token ids of *call*'s prompt."""
    own = call.prompt_tokens - call.shared_prefix_tokens
    name = application.app_type if call.prefix_scope == "type" else application.app_id
    shared = _tokens(f"{call.prefix_scope}/{name}", call.shared_prefix_tokens)
    return shared + _tokens(f"call/{application.app_id}/{call.id}", own)


def _tokens(seed: str, number: int) -> array[int]:
    """Return *number* tokens that follow from *seed*; a longer run begins as a shorter one."""
    tokens = array("l")
    block = 0
    while len(tokens) < number:
        digest = blake2b(f"{seed}/{block}".encode()).digest()
        tokens.extend(byte % _VOCABULARY for byte in digest)
        block += 1
    return tokens[:number]
