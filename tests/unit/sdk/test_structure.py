"""What is known of an application's structure: what was declared stands, what is found is added."""

import threading

import pytest

from justitia_sdk.plan import MAX_STAGES, Plan, Stage
from justitia_sdk.structure import Structure


def plan_of(*stages: Stage) -> Plan:
    return Plan(stages)


def test_nothing_is_known_at_first() -> None:
    """Without a plan there is none, and no stage has a number."""
    structure = Structure(None)
    assert structure.plan is None
    assert structure.stages == []


def test_stages_have_the_plans_numbers_then_those_of_their_first_use() -> None:
    """What the plan does not know comes after it."""
    structure = Structure(plan_of(Stage("map"), Stage("reduce")))
    assert [structure.number_of(name) for name in ("extra", "reduce", "map", "extra")] == [
        *(2, 1, 0, 2)
    ]
    assert structure.stages == ["map", "reduce", "extra"]


def test_numbers_given_elsewhere_are_kept() -> None:
    """A process that takes up an application goes on counting where it was."""
    structure = Structure(plan_of(Stage("map")), numbered=["split", "map"])
    assert [structure.number_of(name) for name in ("map", "split", "new")] == [1, 0, 2]


def test_found_structure_is_added() -> None:
    """Where nothing was declared, what is found is the plan."""
    structure = Structure(None)
    assert structure.expect(plan_of(Stage("agent", 2)))
    assert structure.plan == plan_of(Stage("agent", 2))


def test_finding_the_same_again_is_no_news() -> None:
    """The server need not be told."""
    structure = Structure(None)
    structure.expect(plan_of(Stage("agent", 2)))
    assert not structure.expect(plan_of(Stage("agent", 2)))
    assert structure.expect(plan_of(Stage("agent", 3)))


def test_found_structure_never_touches_a_declared_plan() -> None:
    """Where the user gave a plan, that is the plan."""
    declared = plan_of(Stage("map", 8))
    structure = Structure(declared)
    assert not structure.expect(plan_of(Stage("map", 1), Stage("reduce")))
    assert structure.plan == declared


def test_found_structure_never_touches_a_declared_stage() -> None:
    """The user's word for one stage stands; other stages are added around it."""
    structure = Structure(None)
    assert structure.declare(Stage("map", 8))
    assert structure.expect(plan_of(Stage("map", 1), Stage("reduce")))
    assert structure.plan == plan_of(Stage("map", 8), Stage("reduce"))


def test_declaring_a_stage_again_is_the_latest_word() -> None:
    """In a loop each turn may say anew how wide it is."""
    structure = Structure(plan_of(Stage("map", 8), Stage("reduce")))
    assert structure.declare(Stage("map", 3))
    assert structure.plan == plan_of(Stage("map", 3), Stage("reduce"))
    assert not structure.declare(Stage("map", 3))


def test_declaring_keeps_what_was_said_before() -> None:
    """How many calls there are says nothing against their length."""
    structure = Structure(plan_of(Stage("map", 8, prompt_tokens=500, output_tokens=200, tool_s=2)))
    structure.declare(Stage("map", 3, output_tokens=50))
    assert structure.plan == plan_of(Stage("map", 3, prompt_tokens=500, output_tokens=50, tool_s=2))


def test_one_stage_too_many_costs_a_warning_only(caplog: pytest.LogCaptureFixture) -> None:
    """A program with hundreds of stages runs on, its plan as full as the wire takes it."""
    structure = Structure(None)
    for number in range(MAX_STAGES + 3):
        structure.declare(Stage(f"s{number}"))
    assert structure.plan is not None
    assert len(structure.plan.stages) == MAX_STAGES
    assert [r.levelname for r in caplog.records if r.levelname == "WARNING"] == ["WARNING"]
    assert structure.number_of(f"s{MAX_STAGES}") == MAX_STAGES


def test_threads_lose_no_stage() -> None:
    """Stages declared at the same time are all in the plan, each with a number of its own."""
    structure = Structure(None)
    start = threading.Barrier(MAX_STAGES)

    def declare(number: int) -> None:
        start.wait(10)
        structure.declare(Stage(f"s{number}", number))

    threads = [threading.Thread(target=declare, args=(n,)) for n in range(MAX_STAGES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert structure.plan is not None
    assert {stage.calls for stage in structure.plan.stages} == set(range(MAX_STAGES))
    assert [structure.number_of(name) for name in structure.stages] == list(range(MAX_STAGES))
