"""The `justitia` command. Heavy imports wait until their command runs."""

from .main import app, main

__all__ = ["app", "main"]
