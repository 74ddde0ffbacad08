"""Applications, nesting and stages, as the server is told of them."""

import pytest

import justitia_sdk as justitia
from justitia_sdk.errors import ConfigurationError, UsageError
from justitia_sdk.protocol import MAX_HINTS_BYTES, ApplicationHints, Hints, decode_hints


def hints_of(app: justitia.Application) -> Hints:
    return decode_hints(app.headers()["Justitia-Hints"])


def facts_of(app: justitia.Application) -> ApplicationHints:
    application = hints_of(app).application
    assert application is not None
    return application


def stage_now() -> tuple[str | None, int | None]:
    app = justitia.current_application()
    assert app is not None
    call = hints_of(app).call
    return call.stage, call.stage_index


def test_with_opens_and_closes() -> None:
    """The application is the current one inside the block only."""
    assert justitia.current_application() is None
    with justitia.application("triage") as app:
        assert justitia.current_application() is app
    assert justitia.current_application() is None


async def test_async_with_opens_and_closes() -> None:
    """The asynchronous form does the same."""
    async with justitia.application("triage") as app:
        assert justitia.current_application() is app
    assert justitia.current_application() is None


def test_scope_closes_when_the_block_raises() -> None:
    """An exception passes through and leaves nothing open."""
    with pytest.raises(KeyError), justitia.application("triage") as app:
        raise KeyError
    assert app.is_finished


def test_application_says_what_it_was_told() -> None:
    """Name, weight, deadline, plan and input reach the hints."""
    plan = justitia.Plan((justitia.Stage("map", calls=8), justitia.Stage("reduce")))
    with justitia.application("sum", input="text", plan=plan, weight=2, deadline_s=30) as app:
        told = ApplicationHints(app.app_id, "sum", weight=2, deadline_s=30, plan=plan, input="text")
        assert facts_of(app) == told
        assert (app.type, app.plan, app.weight) == ("sum", plan, 2)


def test_ids_differ_between_runs() -> None:
    """Two runs of one kind are two applications."""
    with justitia.application("triage") as first:
        pass
    with justitia.application("triage") as second:
        pass
    assert first.app_id != second.app_id


def test_input_of_any_type_becomes_text() -> None:
    """An input that is no text is sent in its text form."""
    with justitia.application("triage", input={"ticket": 7}) as app:
        assert facts_of(app).input == "{'ticket': 7}"


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_input_is_left_out(nothing: object) -> None:
    """Without input nothing is said about it."""
    with justitia.application("triage", input=nothing) as app:
        assert facts_of(app).input is None


def test_long_input_is_cut_and_its_length_told() -> None:
    """A book costs no more header than a page."""
    with justitia.application("triage", input="word " * 100_000) as app:
        assert len(app.headers()["Justitia-Hints"]) <= MAX_HINTS_BYTES
        facts = facts_of(app)
        assert facts.input is not None
        assert facts.input.startswith("word word")
        assert facts.input_chars == 500_000


def test_input_whose_text_form_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in the user's `__str__` costs one warning, not the run."""

    class Broken:
        def __str__(self) -> str:
            raise ZeroDivisionError

    for _ in range(2):
        with justitia.application("triage", input=Broken()) as app:
            assert facts_of(app).input is None
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), "2", None, True, 10**400])
def test_bad_weight_is_refused_at_once(weight: object) -> None:
    """A weight without meaning never reaches a call."""
    with pytest.raises(ConfigurationError, match="weight"):
        justitia.application("triage", weight=weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("plan", ["map", ["map"], [justitia.Stage("map")], 3])
def test_bad_plan_is_refused_at_once(plan: object) -> None:
    """A plan is a `Plan`."""
    with pytest.raises(ConfigurationError, match="plan"):
        justitia.application("triage", plan=plan)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb", 3, None, print])
def test_bad_name_is_refused_at_once(name: object) -> None:
    """A name is a short printable text; a forgotten pair of brackets is told."""
    with pytest.raises(ConfigurationError):
        justitia.application(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("deadline_s", [0, -1.0, "soon"])
def test_bad_deadline_is_refused_at_once(deadline_s: object) -> None:
    """A deadline is a positive number of seconds."""
    with pytest.raises(ConfigurationError, match="deadline_s"):
        justitia.application("triage", deadline_s=deadline_s)  # type: ignore[arg-type]


def test_one_scope_cannot_be_open_twice() -> None:
    """Opening the same scope inside itself is a mistake of the caller."""
    scope = justitia.application("triage")
    with scope, pytest.raises(UsageError, match="open already"):
        scope.__enter__()


def test_one_scope_can_be_used_again() -> None:
    """Used a second time, a scope opens another application."""
    scope = justitia.application("triage")
    with scope as first:
        pass
    with scope as second:
        pass
    assert first.app_id != second.app_id


def test_nested_application_is_part_of_the_root() -> None:
    """Calls inside carry the root's facts, and the nested name as their stage."""
    with justitia.application("outer", weight=3) as outer:
        with justitia.application("inner", weight=9) as inner:
            assert inner.app_id == outer.app_id
            assert inner.root is outer
            assert inner.type == "inner"
            assert facts_of(inner) == ApplicationHints(outer.app_id, "outer", weight=3)
            assert stage_now() == ("inner", 0)
        assert stage_now() == (None, None)
        assert not outer.is_finished


def test_deeply_nested_application_is_part_of_the_root() -> None:
    """Three deep, the outermost is still the one the server schedules."""
    with (
        justitia.application("a") as a,
        justitia.application("b"),
        justitia.application("c") as c,
    ):
        assert c.root is a
        assert stage_now() == ("c", 1)


def test_nested_application_does_not_finish_the_root() -> None:
    """Finishing a part does not end the whole."""
    with justitia.application("outer") as outer, justitia.application("inner") as inner:
        inner.finish()
        assert not outer.is_finished


def test_application_opened_after_its_root_finished_is_its_own() -> None:
    """A task that outlives its application opens applications of its own."""
    with justitia.application("first") as first:
        first.finish()
        with justitia.application("second") as second:
            assert second.app_id != first.app_id
            assert second.root is second


def test_finish_twice_is_finish_once() -> None:
    """`finish` may be called by anyone, any number of times."""
    with justitia.application("triage") as app:
        app.finish()
        app.finish()
    assert app.is_finished


def test_finished_application_still_gives_hints() -> None:
    """A call that comes late still says where it belongs."""
    with justitia.application("triage") as app:
        app.finish()
        assert facts_of(app).app == app.app_id


def test_stages_are_numbered_as_first_opened() -> None:
    """A stage keeps its number when it is opened again."""
    with justitia.application("triage") as app:
        seen = []
        for name in ("map", "reduce", "map"):
            with app.stage(name):
                seen.append(stage_now())
        assert seen == [("map", 0), ("reduce", 1), ("map", 0)]


async def test_stage_opens_by_async_with() -> None:
    """Stages have the asynchronous form too."""
    async with justitia.application("triage") as app:
        async with app.stage("map"):
            assert stage_now() == ("map", 0)
        assert stage_now() == (None, None)


def test_innermost_stage_counts() -> None:
    """A stage inside a stage labels its own calls."""
    with justitia.application("triage") as app, app.stage("outer"):
        with app.stage("inner"):
            assert stage_now() == ("inner", 1)
        assert stage_now() == ("outer", 0)


def test_stage_of_a_nested_application_counts_in_the_root() -> None:
    """Numbers run through the whole application."""
    with (
        justitia.application("outer") as outer,
        outer.stage("plan"),
        justitia.application("inner") as inner,
        inner.stage("act"),
    ):
        assert stage_now() == ("act", 2)


@pytest.mark.parametrize("name", ["", 3, None, "a" * 200])
def test_bad_stage_name_is_refused_at_once(name: object) -> None:
    """A stage has a name."""
    with justitia.application("triage") as app, pytest.raises(ConfigurationError, match="stage"):
        app.stage(name).__enter__()  # type: ignore[arg-type]


def test_headers_name_a_new_call_each_time() -> None:
    """Headers made by hand are for one call."""
    with justitia.application("triage") as app:
        assert hints_of(app).call.call != hints_of(app).call.call


def test_headers_take_a_label_when_no_stage_is_open() -> None:
    """An open stage wins over the label a framework knows."""
    with justitia.application("triage") as app:
        label = decode_hints(app.headers(stage="agent")["Justitia-Hints"]).call
        assert (label.stage, label.stage_index) == ("agent", 0)
        with app.stage("mine"):
            label = decode_hints(app.headers(stage="agent")["Justitia-Hints"]).call
            assert (label.stage, label.stage_index) == ("mine", 1)


def test_headers_outside_the_scope_are_the_applications() -> None:
    """An application handed elsewhere still speaks for itself."""
    with justitia.application("first") as first:
        pass
    with justitia.application("second") as second, second.stage("map"):
        assert facts_of(first).app == first.app_id
        assert hints_of(first).call.stage is None


def test_bad_label_costs_a_warning_only(caplog: pytest.LogCaptureFixture) -> None:
    """A label that the wire refuses never raises into a call."""
    with justitia.application("triage") as app:
        assert app.headers(stage="") == {}
    assert [record.name for record in caplog.records] == ["justitia.sdk"]
