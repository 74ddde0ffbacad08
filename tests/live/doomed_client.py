"""A client to be killed: twenty-four long streams of one application, read as they come."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.traffic import MODEL, forced, hints_header, prompt_of


def stream(base_url: str, app: str) -> None:
    """Read one long stream to its end, which should never come."""
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        for _ in client.chat.completions.create(
            model=MODEL,
            messages=prompt_of(100),
            extra_headers=hints_header(app),
            stream=True,
            **forced(3900),
        ):
            pass


if __name__ == "__main__":
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(stream, [sys.argv[1]] * 24, [sys.argv[2]] * 24))
