"""`Plan`: stages in order."""

from typing import assert_type

import justitia_sdk as justitia

plan = justitia.Plan((justitia.Stage("map", 3), justitia.Stage("reduce")))
assert_type(plan.stages, tuple[justitia.Stage, ...])
assert_type(plan.with_stage(justitia.Stage("end")), justitia.Plan)
assert_type(str(plan), str)

justitia.Plan((1, 2))  # type: ignore[arg-type]
justitia.Plan(("map", "reduce"))  # type: ignore[arg-type]
plan.stages = ()  # type: ignore[misc]
