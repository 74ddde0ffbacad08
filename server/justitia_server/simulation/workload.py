"""
Workload files: applications with their calls and token counts, and when they arrive.

JSON lines, one application a line. An application has `app_id`, `app_type` and `calls`; a workload
line adds `arrival_s`, `tenant`, `weight` and may add `input_text`. A call starts when those named
in its `after` have ended, and `delay_s` seconds later if a tool or a person comes in between.
Fields are as described by `Call`, `Application` and `Arriving`; nothing else is taken. Counts are
whole numbers and are never changed: only time is scaled (`drawing`).

What cannot be read is refused with its line, its field and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from justitia_sdk.errors import ConfigurationError
from justitia_sdk.plan import plan_from

from ..fairness.cost import call_cost

Tokens = Annotated[int, Field(ge=1, le=100_000_000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=512)]


class WorkloadError(ConfigurationError):
    """A workload or arrival file cannot be read; the message names line, field and reason."""


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Call(_Record):
    """
    One call of an application.

    Attributes:
        id: 0, 1, 2, … in order.
        after: Calls that must have ended before it starts; smaller than `id`.
        stage: A label, or None.
        prompt_tokens: p.
        output_tokens: d.
        samples: So many sequences are drawn of its one prompt, at once.
        shared_prefix_tokens: Leading tokens of the prompt that others have, too.
        prefix_scope: Who has them: every application of the type, or this one's other calls.
        delay_s: From the end of the last of `after` to its start; real time, never scaled.
    """

    id: Annotated[int, Field(ge=0)]
    after: list[int] = []
    stage: str | None = None
    prompt_tokens: Tokens
    output_tokens: Tokens
    samples: Annotated[int, Field(ge=1, le=100_000)] = 1
    shared_prefix_tokens: Annotated[int, Field(ge=0)] = 0
    prefix_scope: Literal["type", "app"] | None = None
    delay_s: Seconds = 0.0

    @model_validator(mode="after")
    def _check(self) -> Call:
        if self.shared_prefix_tokens > self.prompt_tokens:
            raise ValueError(
                f"shared_prefix_tokens is {self.shared_prefix_tokens}, "
                f"more than the {self.prompt_tokens} of prompt_tokens"
            )
        if self.shared_prefix_tokens and self.prefix_scope is None:
            raise ValueError('prefix_scope must be "type" or "app" with shared_prefix_tokens')
        return self

    @property
    def cost(self) -> float:
        """KV token-time of all its samples, prefix sharing not deducted."""
        return float(self.samples * call_cost(self.prompt_tokens, self.output_tokens))


class Application(_Record):
    """
    One application.

    Attributes:
        app_id: Unique within a file.
        app_type: Its family.
        calls: At least one.
    """

    app_id: Name
    app_type: Name
    calls: Annotated[list[Call], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_order(self) -> Application:
        for place, call in enumerate(self.calls):
            if call.id != place:
                raise ValueError(f"calls[{place}].id is {call.id}: ids count from 0 in order")
            for before in call.after:
                if not 0 <= before < place:
                    raise ValueError(
                        f"calls[{place}].after names {before}: "
                        f"a call waits for earlier ones only, those below {place}"
                    )
        return self

    @property
    def cost(self) -> float:
        """C: KV token-time of all its calls, prefix sharing not deducted."""
        return sum(call.cost for call in self.calls)

    @property
    def num_output_tokens(self) -> int:
        """Output tokens of all its calls."""
        return sum(call.samples * call.output_tokens for call in self.calls)

    @property
    def is_single_stage(self) -> bool:
        """Whether no call waits for another."""
        return not any(call.after for call in self.calls)


class Arriving(Application):
    """
    An application of a workload.

    Attributes:
        arrival_s: Seconds after the workload begins; ascending in a file.
        tenant: Who is billed; empty where nobody is named.
        weight: w, above 0.
        input_text: What it works on, for a predictor.
        plan: Its structure as declared beforehand, for a predictor: stages as in the hints.
    """

    arrival_s: Seconds
    tenant: str = ""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    input_text: str | None = None
    plan: list[dict[str, Any]] | None = None

    @field_validator("plan")
    @classmethod
    def _check_plan(cls, stages: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        if stages is not None:
            plan_from(stages)
        return stages


_Line = TypeVar("_Line", bound=Application)


def read_applications(path: Path) -> list[Application]:
    """
    Read applications without arrivals.

    Raises:
        WorkloadError: The file cannot be read, or a line makes no sense.
    """
    return list(_unique(_read(path, Application), path))


def read_workload(path: Path) -> list[Arriving]:
    """
    Read a workload; arrivals ascend.

    Raises:
        WorkloadError: The file cannot be read, or a line makes no sense.
    """
    workload: list[Arriving] = []
    for number, line in _unique_numbered(_read(path, Arriving), path):
        if workload and line.arrival_s < workload[-1].arrival_s:
            raise WorkloadError(
                f"{path}, line {number}: arrival_s is {line.arrival_s:g}, before the "
                f"{workload[-1].arrival_s:g} of the line above: sort the lines by arrival_s"
            )
        workload.append(line)
    return workload


def write_workload(path: Path, workload: Iterable[Application]) -> None:
    """Write one application a line, compact; what is as by default is left out."""
    with path.open("w", encoding="utf-8") as file:
        for each in workload:
            told = each.model_dump(exclude_defaults=True)
            file.write(json.dumps(told, separators=(",", ":"), ensure_ascii=False) + "\n")


# -- reading lines -----------------------------------------------------------------------


def _read(path: Path, kind: type[_Line]) -> Iterator[tuple[int, _Line]]:
    found = False
    for number, text in read_lines(path):
        found = True
        try:
            yield number, kind.model_validate_json(text)
        except ValidationError as exc:
            raise WorkloadError(f"{path}, line {number}: {_reason(exc)}") from None
    if not found:
        raise WorkloadError(f"{path} holds no application: one JSON object a line is expected")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """
    Yield the lines of a text file that are not blank, with their numbers from 1.

    Raises:
        WorkloadError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise WorkloadError(f"{path} cannot be read: {reason}") from None


def _unique_numbered(lines: Iterable[tuple[int, _Line]], path: Path) -> Iterator[tuple[int, _Line]]:
    first: dict[str, int] = {}
    for number, line in lines:
        if line.app_id in first:
            raise WorkloadError(
                f"{path}, line {number}: app_id {line.app_id!r} is that of line "
                f"{first[line.app_id]}, too: ids must differ within a file"
            )
        first[line.app_id] = number
        yield number, line


def _unique(lines: Iterable[tuple[int, _Line]], path: Path) -> Iterator[_Line]:
    return (line for _, line in _unique_numbered(lines, path))


def _reason(exc: ValidationError) -> str:
    """Return the first thing wrong with a line: field, reason, and what was found there."""
    error = exc.errors(include_url=False)[0]
    field = _field(error["loc"])
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"])
        return f"{field}: {said}" if field else said
    if error["type"] == "json_invalid":
        return f"not JSON: {error['ctx']['error']}"
    if error["type"] == "extra_forbidden":
        return f"{field}: there is no such field; check its spelling or leave it out"
    if error["type"] == "missing":
        return f"{field}: this field is missing"
    return f"{field}: {error['msg']}, not {error['input']!r:.60}"


def _field(location: tuple[Any, ...]) -> str:
    """Return ("calls", 2, "after") as calls[2].after."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
