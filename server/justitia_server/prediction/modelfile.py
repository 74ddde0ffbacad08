"""
A trained model as bytes: named numpy arrays, and what is no array as JSON among them.

Nothing that is read can run: no pickle, and every shape is checked before it is used.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import COMPUTE, KV_TOKEN_TIME, CostModel
from .correction import Correction
from .examples import Key, TypeFacts
from .features import NUM_FEATURES, Lengths
from .network import NUM_TYPE_VALUES, Network
from .text import TextModel

FORMAT = 1
_COST_MODELS = {model.name: model for model in (KV_TOKEN_TIME, COMPUTE)}
_TEXT = ("places", "idf", "weights")
_CORRECTION = ("mean", "scale", "weights")
_NUM_GIVEN = 3


class ModelUnreadable(ConfigurationError):
    """These bytes are no model that this version can read."""


@dataclass(frozen=True, slots=True)
class Parts:
    """
    All of a trained model.

    Attributes:
        network: The ensemble.
        lengths: What is usual in all.
        types: What is known of each type, by tenant and type.
        corrections: By the type's number and the application's state.
        stretches: By what intervals are stretched; keys as above, number 0 for unknown types.
        cost_model: The unit of the costs.
    """

    network: Network
    lengths: Lengths
    types: Mapping[Key, TypeFacts]
    corrections: Mapping[tuple[int, int], Correction]
    stretches: Mapping[tuple[int, int], float]
    cost_model: CostModel


def write_parts(parts: Parts) -> bytes:
    """Return *parts* in bytes."""
    network = parts.network
    arrays: dict[str, Any] = {"mean": network.mean, "scale": network.scale, "types": network.types}
    for layer, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays |= {f"weights.{layer}": weights, f"biases.{layer}": biases}
    for facts in parts.types.values():
        if facts.text:
            arrays |= {f"text.{facts.number}.{name}": getattr(facts.text, name) for name in _TEXT}
    for (number, state), each in parts.corrections.items():
        prefix = f"correction.{number}.{state}"
        arrays |= {f"{prefix}.{name}": getattr(each, name) for name in _CORRECTION}
    told = {
        "format": FORMAT,
        "unit": parts.cost_model.name,
        "lengths": astuple(parts.lengths),
        "types": [
            [*key, facts.number, astuple(facts.lengths), facts.text is not None]
            for key, facts in parts.types.items()
        ],
        "corrections": [[*kind, each.bias] for kind, each in parts.corrections.items()],
        "stretches": [[*kind, value] for kind, value in parts.stretches.items()],
        "num_layers": len(network.weights),
    }
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_parts(raw: bytes) -> Parts:
    """
    Return what `write_parts` gave.

    Raises:
        ModelUnreadable: These bytes are none, or of another format.
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        told = json.loads(bytes(arrays["told"]))
        if told["format"] != FORMAT:
            raise ModelUnreadable(
                f"the model has format {told['format']!r}, this version reads {FORMAT}: train anew"
            )
        return _parts(told, arrays)
    except ModelUnreadable:
        raise
    except Exception as exc:  # whatever a damaged file makes of numpy, zip or JSON
        raise ModelUnreadable(f"these bytes are no model ({exc!r:.200}): train anew") from exc


def _parts(told: dict[str, Any], arrays: dict[str, Any]) -> Parts:
    types = {}
    for tenant, app_type, number, lengths, has_text in told["types"]:
        text = _text(arrays, number) if has_text else None
        types[str(tenant), str(app_type)] = TypeFacts(int(number), Lengths(*lengths), text)
    corrections = {}
    for number, state, bias in told["corrections"]:
        prefix = f"correction.{number}.{state}"
        mean, scale, weights = (
            _shaped(arrays[f"{prefix}.{name}"], NUM_FEATURES + 1) for name in _CORRECTION
        )
        corrections[number, state] = Correction(mean, scale, weights, float(bias))
    stretches = {(number, state): float(value) for number, state, value in told["stretches"]}
    network = _network(arrays, told["num_layers"], len(types))
    lengths, unit = Lengths(*told["lengths"]), _COST_MODELS[told["unit"]]
    return Parts(network, lengths, types, corrections, stretches, unit)


def _network(arrays: dict[str, Any], num_layers: int, num_types: int) -> Network:
    of_types = arrays["types"]
    members = len(of_types)
    _shaped(of_types, members, num_types + 1, NUM_TYPE_VALUES)
    weights, biases, inputs = [], [], NUM_FEATURES + NUM_TYPE_VALUES
    for layer in range(num_layers):
        bias = arrays[f"biases.{layer}"]
        outputs = _NUM_GIVEN if layer == num_layers - 1 else bias.shape[2]
        biases.append(_shaped(bias, members, 1, outputs))
        weights.append(_shaped(arrays[f"weights.{layer}"], members, inputs, outputs))
        inputs = outputs
    mean, scale = (_shaped(arrays[name], NUM_FEATURES) for name in ("mean", "scale"))
    return Network(mean, scale, of_types, tuple(weights), tuple(biases))


def _text(arrays: dict[str, Any], number: int) -> TextModel:
    places, idf, weights = (arrays[f"text.{number}.{name}"] for name in _TEXT)
    return TextModel(places, _shaped(idf, len(places)), _shaped(weights, len(places)))


def _shaped(array: Any, *shape: int) -> Any:
    """Return *array* if it has this shape and finite numbers."""
    if array.shape != shape or not np.isfinite(array).all():
        raise ModelUnreadable(
            f"the model holds an array of shape {array.shape}, not {shape}, or numbers that are "
            "not finite: train anew"
        )
    return array
