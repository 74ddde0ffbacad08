"""`join`: take up an application that another process opened, from what it sent along."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .applications import Handle, joined
from .baggage import read_baggage, read_traceparent
from .context import Scope
from .failopen import fail_open


def join(carrier: Mapping[str, str] | None = None) -> Handle | None:
    """
    Return what opens the application that *carrier* names, or None where it names none.

    The application is named by W3C ``baggage``, as `Application.carrier` and `Application.env`
    write it, else by the trace id of ``traceparent``: then all calls of one trace are one
    application. The process that opened it ends it; of a trace, the server's idle time-out does::

        with justitia.join(request.headers) or justitia.application("lookup"):
            ...

    Args:
        carrier: Headers of a request, or an environment; that of this process if not given.
    """
    carrier = os.environ if carrier is None else carrier
    with fail_open("carrier", "its calls belong to no application"):
        told = read_baggage(carrier)
        if told is None and (app_id := read_traceparent(carrier)) is not None:
            told = (app_id, None)
        return None if told is None else Handle(Scope(joined(*told)))
    return None
