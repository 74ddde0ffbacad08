"""Where the server's own log lines go: stderr, in every process of the server."""

from __future__ import annotations

import logging
import os

LEVEL_VARIABLE = "JUSTITIA_LOG_LEVEL"
_FORMAT = "justitia %(levelname)s %(asctime)s [%(name)s pid %(process)d] %(message)s"


def configure_logging() -> None:
    """Give the `justitia.server` loggers a handler, unless the embedding program gave one."""
    logger = logging.getLogger("justitia.server")
    if logger.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    logger.setLevel(os.environ.get(LEVEL_VARIABLE, "WARNING").upper())
