"""Who writes what to which file: the API process while the engine runs, the engine as it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .line_file import append_lines
from .recorder import Recorder
from .recording import workload_line
from .settings import Settings
from .step_log import HEADER, StepLog, csv_lines


def write(
    settings: Settings,
    *,
    steps: Iterable[Sequence[Any]] = (),
    applications: Iterable[Mapping[str, Any]] = (),
) -> None:
    """
    Append to the files that *settings* name.

    Args:
        settings: The scheduler's.
        steps: As `StepLog.take` gives them.
        applications: As `Recorder.take` gives them.

    Raises:
        OSError: A file cannot be written.
    """
    if settings.step_log:
        append_lines(settings.step_log, csv_lines(steps), header=HEADER)
    if settings.record:
        append_lines(settings.record, [workload_line(each) for each in applications])


def write_rest(settings: Settings, step_log: StepLog | None, recorder: Recorder | None) -> None:
    """
    Write what nobody has fetched; applications that have not ended end here.

    Raises:
        OSError: A file cannot be written.
    """
    if recorder is not None:
        recorder.close_all()
    write(
        settings,
        steps=step_log.take() if step_log is not None else (),
        applications=recorder.take(most_calls=float("inf")) if recorder is not None else (),
    )
