"""Real calls against a live server: the official client, forced lengths, hints by hand."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import httpx
import openai

MODEL = "toy"


def hints_header(app: str, **fields: Any) -> dict[str, str]:
    """Return the header of one call of *app*."""
    return {"Justitia-Hints": json.dumps({"v": 1, "app": app, **fields})}


def forced(num_tokens: int) -> dict[str, Any]:
    """Return the arguments that make the toy model produce exactly *num_tokens*."""
    return {
        "max_tokens": num_tokens,
        "extra_body": {"min_tokens": num_tokens, "ignore_eos": True},
    }


def prompt_of(num_words: int) -> list[dict[str, str]]:
    """Return chat messages of about *num_words* tokens."""
    return [{"role": "user", "content": "the people " * (num_words // 2)}]


@dataclass(frozen=True)
class Shape:
    """An application: *width* calls at a time, *depth* times."""

    width: int
    depth: int
    prompt_words: int
    output_tokens: int

    def plan(self) -> list[dict[str, Any]]:
        """Return the declared plan that tells its true size, but for the chat template."""
        stage = {"calls": self.width, "output_tokens": self.output_tokens}
        stage["prompt_tokens"] = self.prompt_words + 12
        return [{"name": f"s{index}", **stage} for index in range(self.depth)]


async def run_application(client: openai.AsyncOpenAI, app: str, shape: Shape) -> float:
    """Run one application through and return the instant it was done."""
    for depth in range(shape.depth):
        header = hints_header(app, type="test", plan=shape.plan(), stage_index=depth)
        await asyncio.gather(
            *(
                client.chat.completions.create(
                    model=MODEL,
                    messages=prompt_of(shape.prompt_words),
                    extra_headers=header,
                    **forced(shape.output_tokens),
                )
                for _ in range(shape.width)
            )
        )
    return time.monotonic()


class Applications:
    """The application endpoints of a live server."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=30)
        self._root = base_url.removesuffix("/v1")

    def show(self, app: str) -> dict[str, Any]:
        """Return one application."""
        reply = self._http.get(f"/applications/{app}")
        reply.raise_for_status()
        return reply.json()

    def finish(self, app: str) -> dict[str, Any]:
        """End an application."""
        reply = self._http.post(f"/applications/{app}/finish")
        reply.raise_for_status()
        return reply.json()

    def post(self, path: str, **kwargs: Any) -> httpx.Response:
        """Post to the application endpoints."""
        return self._http.post(f"/applications{path}", **kwargs)

    def get(self, path: str) -> httpx.Response:
        """Get from the application endpoints."""
        return self._http.get(f"/applications{path}")

    def state(self) -> dict[str, Any]:
        """Return the scheduler's state."""
        return self.get("").json()["scheduler"][0]

    def list(self) -> list[dict[str, Any]]:
        """Return all applications shown."""
        return self.get("").json()["data"]

    def unfinished(self) -> dict[str, Any]:
        """Return the scheduler's state and the applications that have not ended."""
        open_ones = [each for each in self.list() if each["state"] != "finished"]
        return self.state() | {"unfinished": open_ones}

    def metric(self, name: str, **labels: str) -> float:
        """Return one sample of `/metrics`, nought when it is not there."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        text = httpx.get(f"{self._root}/metrics", timeout=30).text
        for line in text.splitlines():
            if line.startswith(name) and all(label in line for label in wanted):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def wait_for(self, condition: Any, *, seconds: float = 20.0) -> None:
        """Wait until *condition(self)* holds."""
        until = time.monotonic() + seconds
        while not condition(self):
            assert time.monotonic() < until, f"not within {seconds} s: {self.unfinished()}"
            time.sleep(0.05)


def is_empty(applications: Applications) -> bool:
    """Tell whether the scheduler holds nothing any more."""
    state = applications.state()
    return not any(
        state[name]
        for name in (
            "num_backlogged",
            "num_in_flight",
            "num_settling",
            "num_running_calls",
            "num_waiting_calls",
        )
    )
