"""What a plan says of one call: how long it may be, and how much of the application follows it."""

from __future__ import annotations

from dataclasses import dataclass

from justitia_sdk.plan import Plan


@dataclass(frozen=True, slots=True)
class Outlook:
    """
    What is expected of the calls of one stage.

    Attributes:
        stage_index: Place of the stage in the plan.
        output_tokens: d of one call.
        critical_path: Iterations from its start to the application's end: one call of each stage
            from this one on, every turn of a loop taken.
    """

    stage_index: int
    output_tokens: int
    critical_path: float


def outlooks(plan: Plan, *, typical_output_tokens: int) -> dict[str, Outlook]:
    """Return the outlook of every stage of *plan*, by its name."""
    ahead, found = 0.0, {}
    for index, stage in reversed(list(enumerate(plan.stages))):
        tokens = stage.output_tokens or typical_output_tokens
        ahead += stage.loop * tokens
        found[stage.name] = Outlook(index, tokens, ahead)
    return found
