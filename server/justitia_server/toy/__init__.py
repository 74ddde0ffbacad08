"""The toy model: a real Llama of 0.4 million random weights, so that any machine can serve."""

from __future__ import annotations

from justitia_server.toy.cache import ensure_toy_model

__all__ = ["ensure_toy_model"]
