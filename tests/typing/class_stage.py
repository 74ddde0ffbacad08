"""`Stage`: a group of calls that may run at the same time."""

from typing import assert_type

import justitia_sdk as justitia

stage = justitia.Stage("map", calls=(2, 5), loop=3, prompt_tokens=100, output_tokens=20, tool_s=0.5)
assert_type(stage.name, str)
assert_type(stage.call_range, tuple[int, int])
assert_type(stage.tool_s, float | None)
assert_type(justitia.Stage.of("map", calls=40, parallel=8), justitia.Stage)

justitia.Stage()  # type: ignore[call-arg]
justitia.Stage("map", calls="many")  # type: ignore[arg-type]
justitia.Stage("map", tokens=3)  # type: ignore[call-arg]
stage.name = "reduce"  # type: ignore[misc]
