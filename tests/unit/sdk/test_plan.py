"""Plans: waves of calls, and the picture that `print` shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import ConfigurationError
from justitia_sdk.plan import MAX_STAGES, Plan, Stage

counts = st.integers(1, 10_000)


def test_plan_prints_as_a_small_tree() -> None:
    """A line a stage: how many calls, how often, how long, and the tools after it."""
    plan = Plan(
        (
            Stage("split"),
            Stage("map", calls=8, loop=5, output_tokens=200),
            Stage("check", calls=(0, 3)),
            Stage("reduce", output_tokens=400, tool_s=2.5),
        )
    )
    assert str(plan).splitlines() == [
        "├─ split  1 call",
        "├─ map  8 calls at once, up to 5 times, ~200 tokens each",
        "├─ check  0 to 3 calls at once",
        "└─ reduce  1 call, ~400 tokens each, then ~2.5 s of tools",
    ]


def test_plan_of_one_stage_is_one_line() -> None:
    """The last stage has the corner."""
    assert str(Plan((Stage("map", calls=2),))) == "└─ map  2 calls at once"


def test_plan_without_stages_prints_as_nothing() -> None:
    """There is nothing to show, and nothing fails."""
    assert str(Plan(())) == ""


@pytest.mark.parametrize(
    ("calls", "parallel", "a_turn", "loop"),
    [
        (40, None, 40, 1),
        (40, 40, 40, 1),
        (40, 100, 40, 1),
        (40, 8, 8, 5),
        (40, 1, 1, 40),
        ((10, 40), 8, (2, 8), 5),
        ((0, 3), 4, (0, 3), 1),
        (0, 4, 0, 1),
    ],
)
def test_parallel_makes_turns(calls: object, parallel: object, a_turn: object, loop: int) -> None:
    """Forty calls, eight at a time, are five turns of eight."""
    stage = Stage.of("map", calls=calls, parallel=parallel)  # type: ignore[arg-type]
    assert stage == Stage("map", a_turn, loop=loop)  # type: ignore[arg-type]


@given(counts, counts)
def test_turns_make_up_the_calls(calls: int, parallel: int) -> None:
    """No turn is wider than said, and all turns hold the calls, but for rounding within a turn."""
    stage = Stage.of("map", calls=calls, parallel=parallel)
    least, most = stage.call_range
    assert most <= parallel or stage.loop == 1
    assert least * stage.loop <= calls <= most * stage.loop
    assert most - least <= 1


@pytest.mark.parametrize("parallel", [0, -1, 1.5, True, "8"])
def test_parallel_without_meaning_is_refused(parallel: object) -> None:
    """A mistake is told before any call."""
    with pytest.raises(ConfigurationError, match="parallel"):
        Stage.of("map", calls=8, parallel=parallel)  # type: ignore[arg-type]


def test_parallel_needs_calls() -> None:
    """Eight at a time of how many? Rather than to guess, ask."""
    with pytest.raises(ConfigurationError, match="calls"):
        Stage.of("map", parallel=8)


def test_with_stage_replaces_in_place() -> None:
    """A stage of a known name takes its place; a new one comes last; the plan itself stands."""
    plan = Plan((Stage("map"), Stage("reduce")))
    assert plan.with_stage(Stage("map", 3)) == Plan((Stage("map", 3), Stage("reduce")))
    assert plan.with_stage(Stage("end")).stages[-1] == Stage("end")
    assert plan == Plan((Stage("map"), Stage("reduce")))


def test_full_plan_takes_no_other_stage() -> None:
    """The wire carries so many stages; one that is there already can still be replaced."""
    plan = Plan(tuple(Stage(f"s{number}") for number in range(MAX_STAGES)))
    assert plan.with_stage(Stage("s3", 9)).stages[3].calls == 9
    with pytest.raises(ConfigurationError, match="stages"):
        plan.with_stage(Stage("another"))
