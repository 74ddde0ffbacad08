"""
Where the toy model lives: built once into the user's cache directory, then reused.

The directory name carries a hash of the recipe (this package's code, text and template), so a
changed recipe is built anew and two versions of Justitia never share a model.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

_RECIPE = ("build.py", "chat_template.jinja", "corpus.txt")


def ensure_toy_model(cache_dir: Path | None = None) -> Path:
    """
    Return the directory of the toy model, building it on first use.

    Safe when several processes ask at once: each builds in a directory of its own, the first to
    finish moves it into place, the others drop theirs.

    Args:
        cache_dir: Where models are kept; the user's cache directory by default.

    Returns:
        A directory in Hugging Face's layout: weights, tokenizer, chat template.

    Changes: creates the directory when it is missing.
    """
    cache = cache_dir or _user_cache()
    target = cache / f"toy-{recipe_hash()}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".toy-") as scratch:
        from justitia_server.toy.build import build_toy_model

        built = Path(scratch) / "model"
        build_toy_model(built)
        _move_into_place(built, target)
    return target


def recipe_hash() -> str:
    """Return twelve hex digits that change whenever the toy model would."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for name in _RECIPE:
        digest.update((here / name).read_bytes())
    return digest.hexdigest()[:12]


def _move_into_place(built: Path, target: Path) -> None:
    """Rename *built* to *target*, unless another process has done so meanwhile."""
    try:
        built.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(built)


def _user_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("justitia"))
