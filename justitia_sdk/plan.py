"""
The structure of an application: a `Plan` of `Stage`s, its JSON form, and its picture.

Standard library only, as all of the wire contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .checks import check_count, check_name, check_number
from .errors import ConfigurationError

MAX_STAGES = 32
MAX_TOKENS = 100_000_000

_STAGE_FIELDS = ("name", "calls", "loop", "prompt_tokens", "output_tokens", "tool_s")


@dataclass(frozen=True, slots=True)
class Stage:
    """
    One stage of a plan: calls of one application that may run at the same time.

    Attributes:
        name: The label that calls of this stage carry.
        calls: How many calls, exactly or as an inclusive range ``(least, most)``.
        loop: At most so many times the stage is run again; 1 is once.
        prompt_tokens: Expected prompt tokens a call, if known.
        output_tokens: Expected output tokens a call, if known.
        tool_s: Expected seconds of tool or human time after the stage, if any.

    Raises:
        ConfigurationError: A field has no meaning.
    """

    name: str
    calls: int | tuple[int, int] = 1
    loop: int = 1
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    tool_s: float | None = None

    def __post_init__(self) -> None:
        check_name("stage name", self.name)
        if isinstance(self.calls, tuple) and len(self.calls) != 2:
            raise ConfigurationError(
                f"calls must be a count or a range (least, most), not {self.calls!r:.60}"
            )
        least, most = self.call_range
        check_count("calls", most, least=0)
        check_count("least of calls", least, least=0, most=most)
        check_count("loop", self.loop)
        for field in ("prompt_tokens", "output_tokens"):
            if (value := getattr(self, field)) is not None:
                check_count(field, value, most=MAX_TOKENS)
        if self.tool_s is not None:
            check_number("tool_s", self.tool_s, least=0.0)

    @classmethod
    def of(
        cls,
        name: str,
        *,
        calls: int | tuple[int, int] | None = None,
        parallel: int | None = None,
        output_tokens: int | None = None,
    ) -> Stage:
        """
        Return a stage of *calls* calls, *parallel* of them at the same time: so many equal turns.

        Raises:
            ConfigurationError: A field has no meaning.
        """
        stage = cls(name, 1 if calls is None else calls, output_tokens=output_tokens)
        if parallel is None:
            return stage
        if calls is None:
            raise ConfigurationError("parallel says how many of the calls: give calls as well")
        check_count("parallel", parallel)
        least, most = stage.call_range
        if parallel >= most:
            return stage
        turns = -(-most // parallel)
        fewest, widest = least // turns, -(-most // turns)
        a_turn = widest if fewest == widest else (fewest, widest)
        return cls(name, a_turn, loop=turns, output_tokens=output_tokens)

    @property
    def call_range(self) -> tuple[int, int]:
        """Least and most calls of one turn of the stage."""
        return self.calls if isinstance(self.calls, tuple) else (self.calls, self.calls)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    The declared structure of an application: its stages, in order.

    Raises:
        ConfigurationError: More stages than the wire carries, or something else than stages.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        if not all(isinstance(stage, Stage) for stage in self.stages):
            raise ConfigurationError(f"a plan holds stages only, not {self.stages!r:.60}")
        if len(self.stages) > MAX_STAGES:
            raise ConfigurationError(f"a plan has at most {MAX_STAGES} stages")

    def with_stage(self, stage: Stage) -> Plan:
        """
        Return the plan with *stage* in the place of the one of that name, or behind the others.

        Raises:
            ConfigurationError: There is no place for another stage.
        """
        names = [each.name for each in self.stages]
        if stage.name not in names:
            return Plan((*self.stages, stage))
        place = names.index(stage.name)
        return Plan((*self.stages[:place], stage, *self.stages[place + 1 :]))

    def __str__(self) -> str:
        """Return the plan as a small tree, a line a stage."""
        lines = [_line(stage) for stage in self.stages]
        branches = ["├─ "] * (len(lines) - 1) + ["└─ "]
        return "\n".join(branch + line for branch, line in zip(branches, lines, strict=False))


def _line(stage: Stage) -> str:
    """Return what a stage is, in words: ``map  8 calls at once, 5 times, ~200 tokens each``."""
    least, most = stage.call_range
    count = f"{most}" if least == most else f"{least} to {most}"
    words = f"{count} call{'' if most == 1 else 's at once'}"
    if stage.loop > 1:
        words += f", up to {stage.loop} times"
    if stage.output_tokens is not None:
        words += f", ~{stage.output_tokens} tokens each"
    if stage.tool_s is not None:
        words += f", then ~{stage.tool_s:g} s of tools"
    return f"{stage.name}  {words}"


def plan_from(stages: Any) -> Plan:
    """
    Read a plan from its JSON form, a list of stages.

    Raises:
        ConfigurationError: A field has no meaning; the message names it.
    """
    if not isinstance(stages, list):
        raise ConfigurationError("plan must be a list of stages")
    return Plan(tuple(_stage_from(fields) for fields in stages))


def plan_fields(plan: Plan) -> list[dict[str, Any]]:
    """Return *plan* in its JSON form; the inverse of `plan_from`."""
    return [_stage_fields(stage) for stage in plan.stages]


def _stage_from(fields: Any) -> Stage:
    if not isinstance(fields, dict) or "name" not in fields:
        raise ConfigurationError("a stage of the plan must be an object with a name")
    known = {name: fields[name] for name in _STAGE_FIELDS if fields.get(name) is not None}
    if isinstance(calls := known.get("calls"), list):
        if len(calls) != 2:
            raise ConfigurationError("calls must be a count or a range [least, most]")
        known["calls"] = (calls[0], calls[1])
    return Stage(**known)


def _stage_fields(stage: Stage) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": stage.name, "calls": stage.calls}
    if stage.loop != 1:
        fields["loop"] = stage.loop
    for name in ("prompt_tokens", "output_tokens", "tool_s"):
        if (value := getattr(stage, name)) is not None:
            fields[name] = value
    return fields
