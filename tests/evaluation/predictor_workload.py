"""The gates' workloads as a predictor sees them: with input texts, and plans as users declare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from justitia_sdk.protocol import ApplicationHints, application_fields
from justitia_server.simulation.drawing import Draw, draw_workload
from justitia_server.simulation.shipped import named_arrivals, named_families
from justitia_server.simulation.workload import Arriving

from .experiments import GATE_RATE, LONGEST_CALL
from .predictor_data import declared_plan

NUM_APPLICATIONS = 210


def told_workload(load: float, seed: int, inputs: Path) -> list[Arriving]:
    """Return the gates' workload, with the texts of *inputs* and with plans."""
    texts = texts_of(inputs)
    how = Draw(NUM_APPLICATIONS, load, GATE_RATE, LONGEST_CALL)
    drawn = draw_workload(named_families(), named_arrivals("vtc_lmsys"), how, seed)
    return [told(each, texts) for each in drawn]


def texts_of(inputs: Path) -> dict[str, str]:
    """Return the input texts of all families by application."""
    lines = (
        json.loads(line)
        for path in sorted(inputs.glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return {line["app_id"]: line["input_text"] for line in lines}


def told(application: Arriving, texts: Mapping[str, str]) -> Arriving:
    """Return *application* with its text and the plan that its user would declare."""
    update = {"input_text": texts.get(origin(application)), "plan": _stages(application)}
    return application.model_copy(update=update)


def origin(application: Arriving) -> str:
    """Return the id of the recorded application that this one is, or is a copy of."""
    return application.app_id.split("#")[0]


def _stages(application: Arriving) -> list[dict[str, Any]] | None:
    """Return the plan that the user would declare, as the hints carry it."""
    plan = declared_plan(application)
    return application_fields(ApplicationHints("app", plan=plan))["plan"] if plan else None
