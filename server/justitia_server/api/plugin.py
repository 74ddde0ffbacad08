"""The `vllm.endpoint_plugins` entry point: everything ours in vLLM's API process."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from ..engine.settings import Settings
from ..fairness.cost import CostModel
from ..fairness.policies.registry import make_policy
from ..prediction.online import OnlinePredictor
from .arrival import ArrivalMiddleware
from .drain import Drain
from .engine_control import EngineControl
from .intake import Intake
from .learning import Learner
from .revising import Reviser
from .routes import router
from .training import Trainer, make_trainer


@dataclass(frozen=True, slots=True)
class JustitiaState:
    """What the routes find under `app.state.justitia`."""

    control: EngineControl
    intake: Intake
    learner: Learner
    drain: Drain
    trainer: Trainer | None


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
        """Attach to the engine client; start learning, and revising where a model may come."""
        control = EngineControl(engine_client)
        settings = Settings.from_config(args.additional_config)
        cost_model = make_policy(settings.policy).cost
        trainer = make_trainer(settings, cost_model)
        predictor = _predictor(cost_model, trainer, settings)
        reviser = Reviser(predictor, control)
        intake = Intake(
            predictor,
            cost_model,
            on_news=reviser.note,
            on_plan=reviser.tell,
            follows=trainer is not None,
            process=control.process,
        )
        intake.attach(engine_client)
        learner = Learner(control, intake, predictor)
        learner.start()
        reviser.start()
        if trainer is not None:
            await trainer.start(engine_client, predictor.use)
        drain = Drain(control, settings)
        if drain.is_wanted:
            drain.start(engine_client)
        state.justitia = JustitiaState(control, intake, learner, drain, trainer)


def _predictor(
    cost_model: CostModel, trainer: Trainer | None, settings: Settings
) -> OnlinePredictor:
    if trainer is None:
        return OnlinePredictor(cost_model)
    return OnlinePredictor(
        cost_model, keep=trainer.keep, keeps_text=settings.keep_input_text, now=time.time
    )
