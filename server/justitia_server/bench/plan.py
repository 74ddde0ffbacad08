"""
What an application declares of itself: a plan that costs what the application costs.

A stage of the plan is a level of the application: the calls that have equally many before them on
the longest chain of calls they wait for. A plan says of a stage how many calls it has and how long
one of them is, so a stage's calls are told as equal: each has their mean output length, and the
prompt length with which together they cost what they really cost.

The error: prompt lengths are whole numbers, so a stage of n calls of d output tokens is off by at
most n d / 2 KV token-time, half a prompt token a call; where its calls are equal it is exact. So is
a plan in the unit of a policy that charges `p + 2d`, but only there. A plan has at most 32 stages
and must fit into the hints header beside the rest: of an application with more levels than that,
neighbours are put together.
"""

from __future__ import annotations

from collections.abc import Sequence

from justitia_sdk import Plan, Stage
from justitia_sdk.plan import MAX_STAGES
from justitia_sdk.protocol import ApplicationHints, CallHints, Hints, encode_hints

from ..simulation.workload import Application, Arriving, Call

_LONGEST_CALL_HINTS = CallHints("f" * 32, attempt=9, stage="9999", stage_index=9999)


def plan_of(application: Arriving) -> Plan:
    """
    Return the plan of *application*, with as many stages as the header carries.

    Raises:
        ConfigurationError: Its type is no name, its weight or a count is beyond what hints can say.
    """
    levels = _levels(application)
    plan = Plan(())
    for num_stages in range(min(MAX_STAGES, len(set(levels))), 0, -1):
        plan = _plan(application.calls, _merged(levels, num_stages))
        if _is_carried(plan, application):
            break
    return plan


def stages_of(application: Application, plan: Plan | None) -> list[str]:
    """Return the name of the stage that each call belongs to: a level, or the plan's stage."""
    levels = _levels(application)
    merged = _merged(levels, len(plan.stages)) if plan else levels
    return [str(stage) for stage in merged]


def _levels(application: Application) -> list[int]:
    """Return how many calls the longest chain before each call has."""
    levels: list[int] = []
    for call in application.calls:
        levels.append(1 + max((levels[before] for before in call.after), default=-1))
    return levels


def _merged(levels: Sequence[int], num_stages: int) -> list[int]:
    """Return the levels with neighbours put together, *num_stages* in all."""
    num_levels = max(levels) + 1
    return [level * num_stages // num_levels for level in levels]


def _plan(calls: Sequence[Call], stage_of: Sequence[int]) -> Plan:
    return Plan(
        tuple(
            _stage(str(place), [call for call in calls if stage_of[call.id] == place])
            for place in range(max(stage_of) + 1)
        )
    )


def _stage(name: str, calls: Sequence[Call]) -> Stage:
    number = sum(call.samples for call in calls)
    output = round(sum(call.samples * call.output_tokens for call in calls) / number)
    cost = sum(call.cost for call in calls)  # of each: p d + d (d + 1) / 2
    prompt = max(1, round(cost / (number * output) - (output + 1) / 2))
    return Stage(name, number, prompt_tokens=prompt, output_tokens=output)


def _is_carried(plan: Plan, application: Arriving) -> bool:
    """Tell whether the header has room for *plan* beside everything but the input."""
    hints = ApplicationHints("0" * 26, application.app_type, weight=application.weight, plan=plan)
    return '"plan":' in encode_hints(Hints(hints, _LONGEST_CALL_HINTS))
