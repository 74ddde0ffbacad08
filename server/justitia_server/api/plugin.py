"""The `vllm.endpoint_plugins` entry point: everything ours in vLLM's API process."""

from __future__ import annotations

import os
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from ..engine.settings import Settings
from ..fairness.policies.registry import make_policy
from ..prediction.ladder import LadderPredictor
from .arrival import ArrivalMiddleware
from .drain import Drain
from .engine_control import EngineControl
from .intake import Intake
from .learning import Learner
from .routes import router


@dataclass(frozen=True, slots=True)
class JustitiaState:
    """What the routes find under `app.state.justitia`."""

    control: EngineControl
    intake: Intake
    learner: Learner
    drain: Drain


class JustitiaEndpoints:
    """Adds the application endpoints and reads the hints header (see vLLM's `EndpointPlugin`)."""

    name = "justitia"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Register routes and the middleware that reads the header."""
        app.include_router(router)
        has_keys = bool(app.state.args.api_key or os.environ.get("VLLM_API_KEY"))
        app.add_middleware(ArrivalMiddleware, has_keys=has_keys)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Attach to the engine client and start learning."""
        control = EngineControl(engine_client)
        settings = Settings.from_config(args.additional_config)
        intake = Intake(LadderPredictor(make_policy(settings.policy).cost))
        intake.attach(engine_client)
        learner = Learner(control, intake)
        learner.start()
        drain = Drain(control, settings)
        if drain.is_wanted:
            drain.start(engine_client)
        state.justitia = JustitiaState(control, intake, learner, drain)
