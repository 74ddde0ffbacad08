"""
Keeping examples, training on them in the background, and putting better models to use.

The API process keeps what ended applications teach (`Keeper`), looks now and then whether there is
enough new, and then starts a training process, one at a time. Whichever version is live in the
folder is loaded, so that several API processes, and `justitia predictor rollback`, all work on the
same files. Nothing here waits in the event loop, and nothing that fails stops serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine.settings import Settings
from ..fairness.cost import CostModel
from ..prediction.base import Example, Model
from ..prediction.keeper import Keeper
from ..prediction.store import FILE_NAME, Store
from ..prediction.training import Method, is_due, last_run, neural
from ..prediction.versions import Versions
from .metrics import EXAMPLES, MODEL_VERSION, TRAINING_RUNS

logger = logging.getLogger("justitia.server.api")

INTERVAL_S = 5.0
REST_S = 30.0  # between the beginnings of two training runs
TIME_LIMIT_S = 600.0
_COMMAND = (sys.executable, "-m", "justitia_server.prediction.training")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Trainer:
    """What the API process does for a predictor that learns."""

    def __init__(
        self,
        folder: Path,
        cost_model: CostModel,
        *,
        keep_input_text: bool = False,
        interval_s: float = INTERVAL_S,
        rest_s: float = REST_S,
        time_limit_s: float = TIME_LIMIT_S,
        method: Method | None = None,
    ) -> None:
        """
        Be ready to start; nothing is touched yet.

        Args:
            folder: Where examples and versions are.
            cost_model: The unit of the costs.
            keep_input_text: Store input texts, too.
            interval_s: Seconds between two looks at the folder.
            rest_s: Least seconds between two training runs.
            time_limit_s: A training run that takes longer is ended.
            method: How models are read; the server's own unless told.
        """
        self._folder = folder
        self._cost_model = cost_model
        self._interval_s, self._rest_s, self._time_limit_s = interval_s, rest_s, time_limit_s
        self._method = method
        self._versions = Versions(folder)
        self._keeper = Keeper(folder, unit=cost_model.name, keep_text=keep_input_text)
        self._use: Callable[[Model | None], None] = lambda model: None
        self._live: int | None = None
        self._counted: dict[str, int] = {}  # examples, as exported
        self._warned: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False
        self._process: asyncio.subprocess.Process | None = None

    def keep(self, example: Example) -> None:
        """Take an example to be stored; never waits, never raises."""
        self._keeper.keep(example)

    async def start(self, engine_client: Any, use: Callable[[Model | None], None]) -> None:
        """
        Put the live version to use, and begin keeping and training in the running event loop.

        Args:
            engine_client: vLLM's; what is waiting is written when it shuts down.
            use: Told of every model that is to be used from then on; None for no model.

        Changes: *engine_client*'s `shutdown`.
        """
        self._use = use
        shutdown = engine_client.shutdown

        def shutdown_in_order(*args: Any, **kwargs: Any) -> None:
            self.stop()
            shutdown(*args, **kwargs)

        engine_client.shutdown = shutdown_in_order
        self._keeper.start()
        await self._look_for_version()
        self._task = asyncio.create_task(self._run(), name="justitia-trainer")

    def stop(self) -> None:
        """End the training process, if there is one, and write what is waiting."""
        self._is_ending = True
        if self._task is not None:
            self._task.cancel()
        self._kill()
        self._keeper.close()

    async def look(self) -> None:
        """Look once: use another version that is live by now; train if there is enough new."""
        await self._look_for_version()
        if await asyncio.to_thread(self._is_due):
            TRAINING_RUNS.labels(await self._train()).inc()
            await self._look_for_version()

    # -- inside --------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            self._export_examples()
            try:
                await self.look()
            except Exception as error:  # the disk may be full, the folder gone
                self._warn("look", f"training goes wrong in {self._folder}: {error!r}")

    def _export_examples(self) -> None:
        counts = {"stored": self._keeper.num_stored, "dropped": self._keeper.num_dropped}
        for outcome, number in counts.items():
            EXAMPLES.labels(outcome).inc(number - self._counted.get(outcome, 0))
        self._counted = counts

    async def _look_for_version(self) -> None:
        if self._versions.current_number == self._live:
            return
        number, model = await asyncio.to_thread(self._load)
        self._live = self._versions.current_number
        self._use(model)
        MODEL_VERSION.set(number)

    def _load(self) -> tuple[int, Model | None]:
        """Return the live version, if there is one that this server can use; else 0 and None."""
        method = self._method or neural(self._cost_model)
        found = self._versions.load(method.read)
        if found is None:
            return 0, None
        version, model = found
        if version.facts.unit != self._cost_model.name:
            self._warn(
                f"unit {version.number}",
                f"model version {version.number} predicts {version.facts.unit}, and costs are "
                f"{self._cost_model.name} here: it is not used; give --predictor another folder",
            )
            return 0, None
        return version.number, model

    def _is_due(self) -> bool:
        if not (self._folder / FILE_NAME).is_file():
            return False
        if time.time() - last_run(self._folder).began_at < self._rest_s:
            return False
        with Store.open_to_read(self._folder) as store:
            return store.unit == self._cost_model.name and is_due(store)

    async def _train(self) -> str:
        """Run one training process to its end, and return the outcome."""
        self._process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            str(self._folder),
            stdin=asyncio.subprocess.PIPE,  # its end tells the process that this one has ended
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # nice as a whole; and Ctrl-C reaches us alone
        )
        try:
            async with asyncio.timeout(self._time_limit_s):
                said, errors = await self._output(self._process)
        except TimeoutError:
            self._warn("limit", f"training took more than {self._time_limit_s:g} s and was ended")
            return "timeout"
        finally:
            self._kill()
        if self._is_ending:
            return "ended"
        if self._process.returncode:
            lines = errors.decode(errors="replace").strip().splitlines() or ["it said nothing"]
            self._warn("failed", f"training failed: {lines[-1]}")
            return "failed"
        report = json.loads(said.splitlines()[-1])
        logger.info("training: %s", report)
        return str(report["outcome"])

    async def _output(self, process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
        """Read what *process* prints until it ends, its standard input left open."""
        assert process.stdout is not None
        assert process.stderr is not None
        said, errors = await asyncio.gather(process.stdout.read(), process.stderr.read())
        await process.wait()
        return said, errors

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _warn(self, kind: str, message: str) -> None:
        """Log the first warning of a kind: a look is every few seconds."""
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("%s (serving goes on)", message)


def make_trainer(settings: Settings, cost_model: CostModel) -> Trainer | None:
    """Return what *settings* ask for; None if the predictor is to learn nothing."""
    if settings.predictor is None:
        return None
    return Trainer(Path(settings.predictor), cost_model, keep_input_text=settings.keep_input_text)
