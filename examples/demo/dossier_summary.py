"""Summarise a dossier with LangChain: notes on every piece at once, then one summary of them."""

from __future__ import annotations

from corpus import estimated_tokens, pieces
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from lengths import exactly

import justitia_sdk as justitia

PIECE_CHARS = 1000
NOTE_TOKENS = 320
SUMMARY_TOKENS = 120
NOTE_CHARS_KEPT = 90  # of each note, so that the summary's prompt fits the model

TAKE_NOTES = ChatPromptTemplate.from_messages(
    [
        ("system", "You take careful notes. Keep names, dates, sums and obligations."),
        ("human", "Take notes on this part of a dossier:\n\n{piece}"),
    ]
)
SUMMARISE = ChatPromptTemplate.from_messages(
    [
        ("system", "You write summaries for a reader who has two minutes."),
        ("human", "Summarise the dossier from these notes:\n\n{notes}"),
    ]
)


def summarise(dossier: str, *, llm: ChatOpenAI) -> str:
    """Return a summary of *dossier*."""
    parts = pieces(dossier, chars=PIECE_CHARS)
    take_notes = TAKE_NOTES | llm.bind(**exactly(NOTE_TOKENS)) | StrOutputParser()
    write_summary = SUMMARISE | llm.bind(**exactly(SUMMARY_TOKENS)) | StrOutputParser()
    with justitia.application("dossier_summary", input=dossier, plan=plan_of(parts)) as app:
        with app.stage("notes"):
            notes = take_notes.batch(
                [{"piece": part} for part in parts], config={"max_concurrency": len(parts)}
            )
        kept = "\n".join(note[:NOTE_CHARS_KEPT] for note in notes)
        with app.stage("summary"):
            return write_summary.invoke({"notes": kept})


def plan_of(parts: list[str]) -> justitia.Plan:
    """Return what is known before the first call: all of it."""
    instructions = 50
    return justitia.Plan(
        (
            justitia.Stage(
                "notes",
                calls=len(parts),
                prompt_tokens=instructions + estimated_tokens(parts[0]),
                output_tokens=NOTE_TOKENS,
            ),
            justitia.Stage(
                "summary",
                prompt_tokens=instructions + len(parts) * NOTE_CHARS_KEPT // 2,
                output_tokens=SUMMARY_TOKENS,
            ),
        )
    )
