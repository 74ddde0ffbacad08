"""
A LangChain chain inside `with justitia.application(...)`.

Covers: the context manager, stages, a declared plan, ChatJustitia.
Scenario: three chapters are summarised at once and the summaries are joined into one; the server
sees one application of four calls, knows its size beforehand, and serves it as a whole.

    justitia serve --toy        # in another terminal
    python examples/context_manager.py
"""

from __future__ import annotations

import os

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

CHAPTERS = [
    "Wool went out of the harbour, and wine and salt came in.",
    "The herring fleet grew until the sand at the mouth stopped it.",
    "A railway brought coal, and with the coal came a dredger.",
]
PLAN = justitia.Plan(
    (
        justitia.Stage("chapters", calls=len(CHAPTERS), prompt_tokens=40, output_tokens=32),
        justitia.Stage("book", prompt_tokens=150, output_tokens=48),
    )
)


def main() -> None:
    """Summarise the chapters, then the summaries."""
    llm = ChatJustitia(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        model=os.environ.get("OPENAI_MODEL", "toy"),
    )
    prompt = ChatPromptTemplate.from_template("Summarise in one sentence: {text}")
    shorten = prompt | llm.bind(max_tokens=32) | StrOutputParser()
    join = prompt | llm.bind(max_tokens=48) | StrOutputParser()

    with justitia.application("book_summary", input="\n".join(CHAPTERS), plan=PLAN) as app:
        with app.stage("chapters"):
            summaries = shorten.batch([{"text": chapter} for chapter in CHAPTERS])
        with app.stage("book"):
            summary = join.invoke({"text": "\n".join(summaries)})

    print(f"application {app.app_id} ({app.type})")
    print(f"{len(summaries)} chapter summaries, then one of {len(summary.split())} words")


if __name__ == "__main__":
    main()
