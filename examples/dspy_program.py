"""
A DSPy program that was there before Justitia: one line is added.

Covers: `justitia_integrations.dspy.instrument()`; modules as applications, predictors as stages.
Scenario: three chapters are shortened at once and what remains is joined; the server sees one
application of four calls, and knows of the three before they come.

    justitia serve --toy        # in another terminal
    python examples/dspy_program.py
"""

import logging
import os
from typing import Any

import dspy

from justitia_integrations import dspy as justitia_dspy

justitia_dspy.instrument()  # added: every run of a module is an application from here on
logging.getLogger("dspy").setLevel(logging.ERROR)  # the toy model always wants to say more
CHAPTERS = ["Wool went out.", "Then herring came in.", "A railway brought coal."]


class Plain(dspy.ChatAdapter):
    """Takes answers as they come: the toy model writes noise, and fills in no forms."""

    def parse(self, signature: Any, completion: str) -> dict[str, str]:
        """Return *completion* as the signature's output."""
        return dict.fromkeys(signature.output_fields, completion)


class Book(dspy.Module):
    """Summarises a book, chapter by chapter."""

    def __init__(self) -> None:
        self.shorten = dspy.Predict("chapter -> sentence")
        self.join = dspy.Predict("sentences -> summary")

    def forward(self, chapters: list[str]) -> Any:
        """Return the summary of *chapters*."""
        shorten = dspy.Parallel(num_threads=len(chapters), disable_progress_bar=True)
        parts = shorten([(self.shorten, {"chapter": chapter}) for chapter in chapters])
        return self.join(sentences="\n".join(part.sentence for part in parts))


if __name__ == "__main__":
    lm = dspy.LM(
        f"openai/{os.environ.get('OPENAI_MODEL', 'toy')}",
        engine="lm15",  # DSPy's own
        api_base=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        max_tokens=24,
        cache=False,
    )
    with dspy.context(lm=lm, adapter=Plain()):
        Book()(chapters=CHAPTERS)
    print(f"Book: 1 application of {len(CHAPTERS) + 1} calls")
