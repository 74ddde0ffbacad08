"""
The neural network: an ensemble of small ones, trained together by torch, asked with numpy.

Each member is a perceptron of three layers over the features and a vector of the type (zero for a
type that is not known), and gives three numbers: the middle of what the rest may cost and how far
the interval reaches below and above. With the floor f and the guess g of the rest relative to it,

    log cost = log f + softplus(log g + pull * middle)

so nothing is predicted below its floor, and a network that says nothing gives the guess; a pull
below 1 says that it is to be believed less. The middle is trained with Huber's loss on the
logarithm, the ends with the pinball loss at 10 and 90 %.

Members differ in what they are trained on: each leaves out one part, which tells when to stop, and
on which its errors are honest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_MEMBERS = 5
NUM_HIDDEN = 16
NUM_TYPE_VALUES = 3
LOW, HIGH = 0.1, 0.9
HUBER = 2.0  # log-error from which on outliers count less
MOST_INPUT = 4.0  # standard deviations: what is further out than training ever was, is put there
_LEAST_SPREAD = 0.1

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """
    What is learned from: one row an application at one instant.

    Attributes:
        features: (rows, features).
        types: Number of the type's vector; 0 for "not known".
        log_floor: Logarithm of the least it can cost.
        log_guess: Logarithm of the guessed rest over the floor.
        pull: How much of the middle counts.
        log_cost: Logarithm of what it cost.
        weights: How much the row counts.
        parts: Which member may not see it.
    """

    features: Floats
    types: NDArray[np.int64]
    log_floor: Floats
    log_guess: Floats
    pull: Floats
    log_cost: Floats
    weights: Floats
    parts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Network:
    """
    A trained ensemble.

    Attributes:
        mean: Of each feature in training.
        scale: One over its standard deviation.
        types: (members, types, values): the vectors of the types; row 0 is zero.
        weights: Of each layer, (members, inputs, outputs).
        biases: Of each layer, (members, 1, outputs).
    """

    mean: Floats
    scale: Floats
    types: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def members(self, features: Floats, types: NDArray[np.int64]) -> Floats:
        """Return (members, rows, 3): middle, reach below, reach above, as each member sees it."""
        known = np.clip((features - self.mean) * self.scale, -MOST_INPUT, MOST_INPUT)
        shape = (len(self.types), *known.shape)
        hidden = np.concatenate((np.broadcast_to(known, shape), self.types[:, types]), axis=2)
        last = len(self.weights) - 1
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = hidden @ weights + biases
            if layer < last:
                hidden = np.tanh(hidden)
        given: Floats = hidden
        return given

    def __call__(self, features: Floats, types: NDArray[np.int64]) -> Floats:
        """Return (rows, 3): the mean of the members."""
        mean: Floats = self.members(features, types).mean(axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Descent:
    """How training goes down: steps, rows a step, rates, and when it stops early."""

    steps: int = 800
    batch: int = 256
    rate: float = 2e-3
    decay: float = 1.0
    noise: float = 0.3
    type_decay: float = 0.3
    check_every: int = 40
    patience: int = 5


_USUAL = Descent()


def fit(rows: Rows, *, num_types: int, seed: int, how: Descent = _USUAL) -> Network:
    """Train an ensemble on *rows*; the same rows and seed give the same network."""
    import torch

    chance = torch.Generator().manual_seed(seed)
    mean = rows.features.mean(axis=0)
    scale = (1 / np.maximum(rows.features.std(axis=0), _LEAST_SPREAD)).astype(np.float32)
    known = np.clip((rows.features - mean) * scale, -MOST_INPUT, MOST_INPUT)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network is trained faster by one
    try:
        state = _start(torch, known.shape[1], num_types, chance)
        kept = _descend(torch, _Told(torch, rows, known), state, chance, how)
    finally:
        torch.set_num_threads(num_threads)
    arrays = [each.numpy() for each in kept]
    return Network(mean, scale, arrays[0], tuple(arrays[1::2]), tuple(arrays[2::2]))


class _Told:
    """The rows as tensors, and which of them each member sees."""

    def __init__(self, torch: Any, rows: Rows, known: Floats) -> None:
        self.known = torch.from_numpy(known.astype(np.float32))
        self.types = torch.from_numpy(rows.types)
        self.numbers = torch.from_numpy(
            np.stack((rows.log_floor, rows.log_guess, rows.pull, rows.log_cost), axis=1).astype(
                np.float32
            )
        )
        self.weights = torch.from_numpy(rows.weights.astype(np.float32))
        members = torch.arange(NUM_MEMBERS)[:, None]
        self.is_left_out = torch.from_numpy(rows.parts)[None, :] == members


def _start(torch: Any, num_features: int, num_types: int, chance: Any) -> list[Any]:
    """Return types, then weight and bias of each layer, at random; the last layer is zero."""
    widths = (num_features + NUM_TYPE_VALUES, NUM_HIDDEN, NUM_HIDDEN, 3)
    state = [torch.zeros(NUM_MEMBERS, num_types + 1, NUM_TYPE_VALUES)]
    state[0].normal_(0, 0.3, generator=chance)
    state[0][:, 0] = 0
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        weights = torch.zeros(NUM_MEMBERS, inputs, outputs)
        if layer < len(widths) - 2:
            weights.normal_(0, inputs**-0.5, generator=chance)
        biases = torch.zeros(NUM_MEMBERS, 1, outputs)
        if outputs == 3:
            biases[:, :, 1:] = -0.5
        state += [weights, biases]
    return state


def _forward(torch: Any, state: list[Any], known: Any, types: Any) -> Any:
    """Return (members, rows, 3) for (members, rows, features)."""
    members = torch.arange(NUM_MEMBERS)[:, None]
    hidden = torch.cat((known, state[0][members, types]), dim=2)
    for layer in range(1, len(state), 2):
        hidden = torch.baddbmm(state[layer + 1], hidden, state[layer])
        if layer < len(state) - 2:
            hidden = torch.tanh(hidden)
    return hidden


def _losses(torch: Any, given: Any, numbers: Any) -> Any:
    """Return the loss of each row: of the middle, and of both ends."""
    softplus = torch.nn.functional.softplus
    floor, guess, pull, cost = numbers.unbind(-1)
    middle = guess + pull * given[..., 0]
    error = floor + softplus(middle) - cost
    lower = middle.detach() - softplus(given[..., 1])
    upper = middle.detach() + softplus(given[..., 2])
    below, above = cost - floor - softplus(lower), cost - floor - softplus(upper)
    loss = torch.nn.functional.huber_loss(
        error, torch.zeros_like(error), reduction="none", delta=HUBER
    )
    loss = loss + 0.3 * torch.maximum(LOW * below, (LOW - 1) * below)
    return loss + 0.3 * torch.maximum(HIGH * above, (HIGH - 1) * above)


def _descend(torch: Any, told: _Told, state: list[Any], chance: Any, how: Descent) -> list[Any]:
    """Train; return the state in which each member did best on what it had not seen."""
    for each in state:
        each.requires_grad_()
    groups = [
        {"params": state[:1], "weight_decay": how.type_decay},
        {"params": state[1:], "weight_decay": how.decay},
    ]
    optimizer = torch.optim.AdamW(groups, lr=how.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=how.steps)
    odds = told.weights * ~told.is_left_out
    odds = torch.where(odds.sum(dim=1, keepdim=True) > 0, odds, told.weights)  # few rows: all
    best = [each.detach().clone() for each in state]
    least, stale = torch.full((NUM_MEMBERS,), torch.inf), 0
    for step in range(how.steps):
        if step % how.check_every == 0:
            losses = _validate(torch, told, state)
            is_better = losses < least
            least = torch.where(is_better, losses, least)
            for mine, theirs in zip(best, state, strict=True):
                mine[is_better] = theirs.detach()[is_better]
            stale = 0 if bool(is_better.any()) else stale + 1
            if stale > how.patience:
                break
        drawn = torch.multinomial(odds, how.batch, replacement=True, generator=chance)
        known = told.known[drawn]
        noise = torch.empty_like(known).normal_(0, how.noise, generator=chance)
        given = _forward(torch, state, known + noise, told.types[drawn])
        loss = _losses(torch, given, told.numbers[drawn]).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        state[0].grad[:, 0] = 0
        optimizer.step()
        schedule.step()
    return best


def _validate(torch: Any, told: _Told, state: list[Any]) -> Any:
    """Return the loss of each member on what it may not see."""
    with torch.no_grad():
        shape = (NUM_MEMBERS, -1, -1)
        given = _forward(torch, state, told.known.expand(shape), told.types.expand(NUM_MEMBERS, -1))
        losses = _losses(torch, given, told.numbers.expand(shape))
        counted = told.weights * told.is_left_out
        return (losses * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1e-9)
