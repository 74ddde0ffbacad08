"""An application on its way to another process: W3C baggage, trace context, environment."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import justitia_sdk as justitia
from justitia_sdk.applications import inherit_from, live
from justitia_sdk.baggage import MAX_BAGGAGE_CHARS, carrier_of, environment_of, read_baggage
from justitia_sdk.context import inherit
from justitia_sdk.ids import new_ulid, trace_id_of, ulid_of

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}

printable = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128)
trace_ids = st.integers(1, 2**128 - 1).map("{:032x}".format)


def call() -> None:
    with justitia.OpenAI() as client:
        client.chat.completions.create(**PROMPT)


def opened(carrier: Mapping[str, str]) -> justitia.Application | None:
    handle = justitia.join(carrier)
    return None if handle is None else handle.application


def facts_of(carrier: Mapping[str, str]) -> tuple[str, str] | None:
    app = opened(carrier)
    return None if app is None else (app.app_id, app.type)


@pytest.fixture
def sent() -> dict[str, str]:
    """Return what an application that is no longer here sent along."""
    with justitia.application("triage of *ünïcode*, 50%; a=b") as app:
        return app.carrier()


@pytest.fixture
def _outside_again() -> Iterator[None]:
    yield
    inherit(None)


def test_carrier_names_the_application_and_nothing_else() -> None:
    """Its id and type travel; what it works on stays here."""
    with justitia.application("triage", input="a secret") as app:
        carrier = app.carrier()
    assert carrier["baggage"] == f"justitia-app={app.app_id};type=triage"
    version, trace_id, span_id, flags = carrier["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", trace_id_of(app.app_id), "01")
    assert len(span_id) == 16
    assert set(carrier) == {"baggage", "traceparent"}


def test_carrier_of_a_part_is_the_roots() -> None:
    """The other process joins the whole."""
    with justitia.application("outer") as outer, justitia.application("inner") as inner:
        assert inner.carrier()["baggage"] == f"justitia-app={outer.app_id};type=outer"


def test_joining_carries_the_calls_over(server: Any, sent: dict[str, str]) -> None:
    """Calls inside belong to the application that was named, under its id and type."""
    handle = justitia.join(sent)
    assert handle is not None
    with handle as app:
        call()
    (hints,) = server.hints
    assert (hints.application.app, hints.application.type) == (app.app_id, app.type)
    assert app.type == "triage of *ünïcode*, 50%; a=b"
    assert sent["baggage"].startswith(f"justitia-app={app.app_id}")


def test_joining_in_the_same_process_is_the_application_itself() -> None:
    """A request that comes back to its sender finds the object."""
    with justitia.application("triage") as app:
        assert opened(app.carrier()) is app


def test_joined_application_is_ended_by_its_opener(
    justitia_server: Any, sent: dict[str, str]
) -> None:
    """Neither leaving nor finishing it here tells an end."""
    handle = justitia.join(sent)
    assert handle is not None
    with handle as app, justitia.application("part"):
        call()
        app.finish()
    assert justitia_server.finished() == []


def test_joined_application_takes_parts_and_stages(server: Any, sent: dict[str, str]) -> None:
    """It is an application like any other."""
    handle = justitia.join(sent)
    assert handle is not None
    with handle as app, app.stage("map"), justitia.application("part"):
        call()
    assert server.apps == {app.app_id}
    assert server.stages == [("part", 1)]


@pytest.mark.parametrize("name", ["baggage", "Baggage", "BAGGAGE", "bAgGaGe"])
def test_header_names_are_of_any_case(name: str, sent: dict[str, str]) -> None:
    """Servers hand headers on in small letters, capitals or as they came."""
    assert facts_of({name: sent["baggage"]}) == facts_of(sent)


def test_foreign_members_are_passed_over() -> None:
    """Baggage is shared: others' members, before and after, and blanks are legal."""
    value = " user=a%2Cb , justitia-app = 01ABC ; secret ; type=triage;x=y , justitia-apps=no"
    assert facts_of({"baggage": value}) == ("01ABC", "triage")


def test_member_without_a_type_is_an_application() -> None:
    """The id is what counts."""
    assert facts_of({"baggage": "justitia-app=01ABC"}) == ("01ABC", "application")


@given(printable, printable)
def test_any_id_and_type_arrive(app_id: str, app_type: str) -> None:
    """Whatever they hold is percent-encoded on the way."""
    carrier = carrier_of(app_id, app_type)
    assert carrier["baggage"].isascii()
    assert read_baggage(carrier) == (app_id, app_type)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "justitia-app",
        "justitia-app=",
        "justitia-app=;type=triage",
        "user=1",
        f"justitia-app={'a' * 129}",
        "justitia-app=%00",
        "justitia-app=01ABC;type=%0A",
        f"justitia-app=01ABC,{'a' * MAX_BAGGAGE_CHARS}",
    ],
)
def test_nothing_usable_joins_nothing(value: str) -> None:
    """Baggage that names no application, a bad one, or is too large to be read, is none."""
    assert justitia.join({"baggage": value}) is None


@given(st.text(max_size=200), st.text(max_size=80))
def test_garbage_never_raises(baggage: str, traceparent: str) -> None:
    """What came from outside cannot break the server that reads it."""
    justitia.join({"baggage": baggage, "traceparent": traceparent})
    justitia.join({"baggage": f"justitia-app={baggage};type={traceparent}"})


@pytest.mark.parametrize(
    "carrier", [{}, {"baggage": None}, {"baggage": ["justitia-app=01ABC"]}, [], "baggage", 3]
)
def test_something_else_than_headers_joins_nothing(carrier: Any) -> None:
    """Frameworks' header objects differ; one that cannot be read names nothing."""
    assert justitia.join(carrier) is None


def test_trace_names_the_application_where_baggage_does_not() -> None:
    """All calls of one trace are one application."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    carrier = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    first, second = opened(carrier), opened({"baggage": "user=1", **carrier})
    assert first is not None
    assert first is second
    assert first.app_id == ulid_of(trace_id)


def test_baggage_counts_more_than_the_trace(sent: dict[str, str]) -> None:
    """A trace may begin anywhere; the baggage says what is meant."""
    sent["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    app = opened(sent)
    assert app is not None
    assert app.type.startswith("triage")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-zzf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6_3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00- 4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "4bf92f3577b34da6a3ce929d0e0e4736",
    ],
)
def test_trace_that_is_none_joins_nothing(value: str) -> None:
    """Only a trace id of 32 hexadecimal digits, not all nought, stands for an application."""
    assert justitia.join({"traceparent": value}) is None


@given(trace_ids)
def test_trace_ids_come_back(trace_id: str) -> None:
    """A trace id as a ULID and back is the same."""
    assert trace_id_of(ulid_of(trace_id)) == trace_id
    assert len(ulid_of(trace_id)) == 26


def test_ulids_come_back() -> None:
    """A ULID as a trace id and back is the same."""
    ids = [new_ulid() for _ in range(100)]
    assert [ulid_of(trace_id_of(each)) for each in ids] == ids


@given(st.text(max_size=40))
def test_what_is_no_id_is_refused(text: str) -> None:
    """Either way round, something else is a `ValueError` and no other."""
    for convert, back in ((trace_id_of, ulid_of), (ulid_of, trace_id_of)):
        with contextlib.suppress(ValueError):
            assert back(convert(text)) in {text, text.lower()}


def test_id_from_elsewhere_needs_no_trace() -> None:
    """An id that is no ULID travels in the baggage alone."""
    assert set(carrier_of("run-7", "triage")) == {"baggage"}


def test_env_names_the_application() -> None:
    """The variables are the headers, in capitals."""
    with justitia.application("triage") as app:
        variables = app.env()
    assert set(variables) == {"BAGGAGE", "TRACEPARENT"}
    assert facts_of(variables) == (app.app_id, "triage")


def test_env_keeps_others_baggage_and_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tracer's variables go on to the child; an outer application's do not."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    monkeypatch.setenv("BAGGAGE", "user=a%2Cb;p=1,justitia-app=01OLD;type=old,region=eu")
    monkeypatch.setenv("TRACEPARENT", trace)
    with justitia.application("triage") as app:
        variables = app.env()
    assert variables["TRACEPARENT"] == trace
    assert sorted(variables["BAGGAGE"].split(",")) == sorted(
        [f"justitia-app={app.app_id};type=triage", "user=a%2Cb;p=1", "region=eu"]
    )


@pytest.mark.parametrize("room", [0, 10, 70, 100])
def test_large_baggage_of_others_does_not_crowd_ours_out(room: int) -> None:
    """Our own always arrives; of others' what fits beside it."""
    others = f"user=1,large={'x' * (MAX_BAGGAGE_CHARS - len('user=1,large=') - room)}"
    variables = environment_of("01ABC", "triage", {"BAGGAGE": others})
    assert len(variables["BAGGAGE"]) <= MAX_BAGGAGE_CHARS
    assert read_baggage(variables) == ("01ABC", "triage")
    assert "user=1" in variables["BAGGAGE"].split(",")


@pytest.mark.usefixtures("_outside_again")
def test_process_of_an_application_is_inside_it(server: Any, sent: dict[str, str]) -> None:
    """Started with its variables, calls outside any scope are its, and scopes are its parts."""
    inherit_from({"BAGGAGE": sent["baggage"]})
    app = justitia.current_application()
    assert app is not None
    call()
    with justitia.application("part") as part:
        call()
        assert part.root is app
    assert server.apps == {app.app_id}
    assert server.stages == [(None, None), ("part", 0)]
    assert justitia.current_application() is app


@pytest.mark.usefixtures("_outside_again")
@pytest.mark.parametrize(
    "environment",
    [{}, {"BAGGAGE": "user=1"}, {"BAGGAGE": "justitia-app=%00"}, {"TRACEPARENT": "00-" + "1" * 32}],
)
def test_other_environments_are_outside(environment: dict[str, str]) -> None:
    """A tracer's variables alone make no application."""
    inherit_from(environment)
    assert justitia.current_application() is None


def test_child_process_needs_no_line_of_code(justitia_server: Any) -> None:
    """A program that knows nothing of Justitia but a client is part of its parent's application."""
    program = f"""
import justitia_sdk
justitia_sdk.OpenAI().chat.completions.create(**{PROMPT!r})
"""
    with justitia.application("triage") as app:
        child = {**os.environ, **app.env()}
        subprocess.run([sys.executable, "-c", program], check=True, env=child)
        assert justitia_server.apps == {app.app_id}
        assert justitia_server.finished() == []
        call()
    assert justitia_server.finished() == [app.app_id]


def test_joined_applications_are_let_go() -> None:
    """A server that joins a new application with each request keeps none of them."""
    before = len(live)
    for number in range(200):
        handle = justitia.join({"baggage": f"justitia-app=run-{number};type={quote('a b')}"})
        assert handle is not None
        with handle:
            pass
    del handle
    assert len(live) == before
