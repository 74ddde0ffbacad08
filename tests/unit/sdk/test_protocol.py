"""The wire contract: what is encoded is decoded, and nonsense is refused by name."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from justitia_sdk.checks import MAX_COUNT
from justitia_sdk.errors import (
    ConfigurationError,
    MalformedHints,
    OversizedHints,
    UnknownHintsVersion,
)
from justitia_sdk.plan import MAX_TOKENS, Plan, Stage
from justitia_sdk.protocol import (
    MAX_HINTS_BYTES,
    MAX_WEIGHT,
    ApplicationHints,
    CallHints,
    Hints,
    application_fields,
    application_hints_from,
    decode_hints,
    encode_hints,
)

unhurried = settings(deadline=None, max_examples=50)

printable = st.characters(exclude_categories=["C", "Z"])
names = st.text(printable, min_size=1, max_size=128)
short_names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
counts = st.integers(0, MAX_COUNT)
seconds = st.floats(0.001, 1e9)
weights = st.floats(1 / MAX_WEIGHT, MAX_WEIGHT)


def stages(name: st.SearchStrategy[str]) -> st.SearchStrategy[Stage]:
    ranges = st.tuples(counts, counts).map(lambda pair: (min(pair), max(pair)))
    tokens = st.none() | st.integers(1, MAX_TOKENS)
    loop = st.integers(1, MAX_COUNT)
    return st.builds(
        Stage, name, counts | ranges, loop, tokens, tokens, st.none() | st.floats(0, 1e6)
    )


def applications(
    name: st.SearchStrategy[str], text: st.SearchStrategy[str], most_stages: int
) -> st.SearchStrategy[ApplicationHints]:
    return st.builds(
        ApplicationHints,
        app=name,
        type=name,
        weight=weights,
        deadline_s=st.none() | seconds,
        parent=st.none() | name,
        plan=st.none() | st.lists(stages(name), max_size=most_stages).map(tuple).map(Plan),
        input=st.none() | text,
        input_chars=st.none() | st.integers(0, 10**9),
    )


def calls(name: st.SearchStrategy[str]) -> st.SearchStrategy[CallHints]:
    optional = st.none() | counts
    label = st.none() | name
    return st.builds(CallHints, label, counts, label, optional, optional, optional, st.booleans())


small = st.builds(
    Hints,
    st.none() | applications(short_names, st.text(max_size=30), 3),
    calls(short_names),
)
large = st.builds(Hints, applications(names, st.text(max_size=5000), 32), calls(names))


@unhurried
@given(small)
def test_what_fits_comes_back_unchanged(hints: Hints) -> None:
    """Decoding undoes encoding when nothing had to be cut."""
    assert decode_hints(encode_hints(hints)) == hints


@unhurried
@given(large)
def test_header_is_short_ascii_that_can_be_read(hints: Hints) -> None:
    """Whatever is said, the header is ASCII, at most 2 KiB, readable, and names the application."""
    value = encode_hints(hints)
    assert value.isascii()
    assert value.isprintable()
    assert len(value) <= MAX_HINTS_BYTES
    application = decode_hints(value).application
    assert application is not None
    assert hints.application is not None
    assert application.app == hints.application.app


@unhurried
@given(st.text(min_size=3000, max_size=3100))
def test_long_input_is_cut_as_little_as_possible(text: str) -> None:
    """The input keeps the longest beginning that fits, and its whole length is told."""
    value = encode_hints(Hints(ApplicationHints("a", input=text)))
    application = decode_hints(value).application
    assert application is not None
    assert application.input is not None
    assert text.startswith(application.input)
    assert application.input_chars == len(text)
    longest_character = 12
    assert len(value) > MAX_HINTS_BYTES - longest_character


@unhurried
@given(applications(short_names, st.text(max_size=30), 3))
def test_application_fields_come_back(application: ApplicationHints) -> None:
    """Plain fields, as in a request body, say the same as the header."""
    assert application_hints_from(json.loads(json.dumps(application_fields(application)))) == (
        application
    )


def test_plan_gives_way_before_the_rest() -> None:
    """A plan too large for the header is left out; the call's own facts stay."""
    plan = Plan(tuple(Stage(f"{number:03}" * 40) for number in range(32)))
    call = CallHints("c", 1, "map", 0)
    hints = decode_hints(encode_hints(Hints(ApplicationHints("a", "t", plan=plan), call)))
    assert hints == Hints(ApplicationHints("a", "t"), call)


@unhurried
@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(value: str) -> None:
    """No text makes the reader fail in a way of its own."""
    with contextlib.suppress(MalformedHints, UnknownHintsVersion):
        decode_hints(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "{",
        "[]",
        "1",
        '"text"',
        "[" * 2000,
        '{"v":1,"app":1}',
        '{"v":1,"app":""}',
        '{"v":1,"app":"a","type":"\\u0000"}',
        '{"v":1,"app":"a","weight":0}',
        '{"v":1,"app":"a","weight":NaN}',
        '{"v":1,"app":"a","weight":"1"}',
        '{"v":1,"app":"a","weight":1' + "0" * 400 + "}",
        '{"v":1,"app":"a","deadline_s":-1}',
        '{"v":1,"app":"a","input":[]}',
        '{"v":1,"app":"a","input_chars":"many"}',
        '{"v":1,"app":"a","plan":{}}',
        '{"v":1,"app":"a","plan":[1]}',
        '{"v":1,"app":"a","plan":[{"name":"s","calls":[1]}]}',
        '{"v":1,"app":"a","plan":[{"name":"s","calls":[2,1]}]}',
        '{"v":1,"app":"a","plan":[{"name":"s","calls":true}]}',
        '{"v":1,"call":"c","attempt":-1}',
        '{"v":1,"call":"c","attempt":true}',
        '{"v":1,"last":"yes"}',
    ],
)
def test_malformed_hints_are_refused(value: str) -> None:
    """What is not as described is refused, whatever is wrong with it."""
    with pytest.raises(MalformedHints):
        decode_hints(value)


def test_oversized_hints_are_refused() -> None:
    """One byte too many is refused before it is read."""
    with pytest.raises(OversizedHints):
        decode_hints(" " * (MAX_HINTS_BYTES + 1))


@pytest.mark.parametrize("value", ["{}", '{"v":2}', '{"v":"1"}'])
def test_unknown_version_is_refused(value: str) -> None:
    """Another version is told apart from nonsense."""
    with pytest.raises(UnknownHintsVersion):
        decode_hints(value)


def test_unknown_fields_are_ignored() -> None:
    """A newer side may say more."""
    value = '{"v":1,"app":"a","colour":"red","plan":[{"name":"s","shape":"round"}]}'
    assert decode_hints(value) == Hints(ApplicationHints("a", plan=Plan((Stage("s"),))))


@pytest.mark.parametrize("calls", [(1,), (1, 2, 3), (2, 1), -1, 1.5, True, (False, 1), "3", [1, 2]])
def test_stage_refuses_calls_without_meaning(calls: object) -> None:
    """The number of calls is a count or a range, and a mistake is told while building."""
    with pytest.raises(ConfigurationError, match="calls"):
        Stage("map", calls=calls)  # type: ignore[arg-type]


def test_plan_refuses_what_is_no_stage() -> None:
    """A plan of mere names is a mistake."""
    with pytest.raises(ConfigurationError, match="stages"):
        Plan(("map", "reduce"))  # type: ignore[arg-type]
