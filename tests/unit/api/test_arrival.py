"""The hints header on its way in."""

import pytest

from justitia_sdk.protocol import ApplicationHints, CallHints, Hints, encode_hints
from justitia_server.api import metrics
from justitia_server.api.arrival import ArrivalMiddleware, arrival


async def arrive(headers, *, has_keys=False):
    """Send one request through the middleware; return what the app saw and the reply headers."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append(arrival.get())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def send(message):
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "headers": raw}
    await ArrivalMiddleware(app, has_keys=has_keys)(scope, None, send)
    return seen[0], dict(sent[0]["headers"])


async def test_hints_reach_the_application():
    """The header is read into the context, and the reply says whose server this is."""
    hints = Hints(ApplicationHints("A"), CallHints("c"))
    seen, reply = await arrive({"Justitia-Hints": encode_hints(hints)})
    assert seen.hints == hints
    assert reply == {b"a": b"b", b"justitia-server": b"1"}
    assert arrival.get() is None


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("{", "malformed"),
        ("[]", "malformed"),
        ('{"v":1,"app":7}', "malformed"),
        ('{"v":1,"app":"A","weight":-1}', "malformed"),
        ('{"v":1,"app":"A","plan":[{}]}', "malformed"),
        ('{"v":1,"app":"' + "x" * 3000 + '"}', "oversized"),
        ('{"v":2,"app":"A"}', "unknown_version"),
        ("\xff\xfe", "malformed"),
        ("[" * 2000, "malformed"),
    ],
)
async def test_what_cannot_be_read_is_counted_and_dropped(value, outcome):
    """The call goes on without hints."""
    before = metrics.HINTS.labels(outcome)._value.get()
    seen, _ = await arrive({"Justitia-Hints": value})
    assert seen.hints == Hints()
    assert metrics.HINTS.labels(outcome)._value.get() == before + 1


async def test_a_kind_of_error_is_warned_of_once(caplog):
    """A thousand broken headers write one line."""
    metrics._warned.clear()
    for _ in range(5):
        await arrive({"Justitia-Hints": "{"})
    assert len([record for record in caplog.records if "malformed" in record.message]) == 1


async def test_the_tenant_comes_from_the_checked_key_only():
    """Without key checking everyone is one tenant; with it, one a key, the key not shown."""
    open_server, _ = await arrive({"Authorization": "Bearer secret"})
    one, _ = await arrive({"Authorization": "Bearer secret"}, has_keys=True)
    two, _ = await arrive({"Authorization": "Bearer other"}, has_keys=True)
    assert open_server.tenant == "default"
    assert one.tenant != two.tenant
    assert "secret" not in one.tenant


async def test_the_official_clients_retry_count_is_read():
    """And nonsense there is nought."""
    second, _ = await arrive({"x-stainless-retry-count": "1"})
    odd, _ = await arrive({"x-stainless-retry-count": "many"})
    assert (second.attempt, odd.attempt) == (1, 0)
