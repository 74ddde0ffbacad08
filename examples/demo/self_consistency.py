"""Ask one question several times at once, then have the best answer picked: plain Python."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from corpus import best_paragraph
from lengths import exactly

import justitia_sdk as justitia

SAMPLES = 8
SAMPLE_TOKENS = 160
SAMPLE_CHARS_SHOWN = 100  # of each answer, to whoever picks
PICK_TOKENS = 60

PLAN = justitia.Plan(
    (
        justitia.Stage("answers", calls=SAMPLES, prompt_tokens=450, output_tokens=SAMPLE_TOKENS),
        justitia.Stage("pick", prompt_tokens=600, output_tokens=PICK_TOKENS),
    )
)


@justitia.application("self_consistency", plan=PLAN)
def most_consistent(question: str, *, client: justitia.OpenAI, model: str) -> str:
    """Return what is said of the most consistent of several answers to *question*."""
    context = f"{best_paragraph(question)}\n\n{best_paragraph(question, skip=1)}"

    def ask(prompt: str, tokens: int) -> str:
        reply = client.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": "Answer with yes or no, then give your reasons."},
                {"role": "user", "content": prompt},
            ],
            **exactly(tokens),
        )
        return reply.choices[0].message.content or ""

    # A bare thread does not know which application it works for: hand it the context.
    with ThreadPoolExecutor(SAMPLES) as pool:
        prompts = [f"{context}\n\n{question} (Opinion {number})" for number in range(SAMPLES)]
        futures = [pool.submit(copy_context().run, ask, it, SAMPLE_TOKENS) for it in prompts]
        answers = [future.result()[:SAMPLE_CHARS_SHOWN] for future in futures]
    return ask(f"{question} Which answer agrees with most?\n" + "\n".join(answers), PICK_TOKENS)
