"""Where the predictor of a server keeps what it learns: a folder for each model served."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from pathlib import Path

from justitia_sdk.errors import ConfigurationError
from justitia_server.serve.settings import PREDICTOR_OFF, ServeSettings


def predictor_folder(settings: ServeSettings, args: Namespace) -> Path | None:
    """
    Return the folder for examples and models, made if need be; None if nothing is to be learned.

    That is what `--predictor` names; else one in the user's data directory, by the name under which
    the model is served. The toy model's text is noise: it is learned from only where asked.

    Raises:
        ConfigurationError: The folder that the user named cannot be written.
    """
    if settings.predictor == PREDICTOR_OFF:
        return None
    if settings.predictor is not None:
        return _writable(Path(settings.predictor).expanduser().absolute())
    if settings.toy:
        return None
    try:
        return _writable(default_folder((args.served_model_name or [args.model])[0]))
    except ConfigurationError as error:
        sys.stderr.write(f"justitia: {error}; nothing is learned\n")
        return None


def predictors_home() -> Path:
    """Return the folder that holds the default folders."""
    import platformdirs

    return Path(platformdirs.user_data_dir("justitia")) / "predictor"


def default_folder(served_name: str) -> Path:
    """Return the folder for a model served under *served_name*, as `owner--model`."""
    name = re.sub(r"[^\w.-]+", "--", served_name).strip("-.")
    return predictors_home() / (name or "model")


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / ".can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"--predictor {folder} cannot be written: {error.strerror}; name another folder, or "
            f"`--predictor {PREDICTOR_OFF}`"
        ) from None
    return folder
