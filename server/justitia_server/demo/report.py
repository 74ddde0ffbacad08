"""Two runs of the same arrivals side by side: the figures, the table and the facts beside it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from justitia_server.demo.results import (
    Application,
    Run,
    mean_jct_s,
    offered_load,
    p90_jct_s,
)

ALL = "all"


@dataclass(frozen=True, slots=True)
class Row:
    """
    Completion times of one kind of application, or of all, under both servers.

    Attributes:
        kind: The kind, or ``all``.
        number: How many there are.
        mean_stock_s: Mean completion time under stock vLLM.
        mean_justitia_s: The same under Justitia.
        p90_stock_s: The time nine in ten do not exceed, under stock vLLM.
        p90_justitia_s: The same under Justitia.
    """

    kind: str
    number: int
    mean_stock_s: float
    mean_justitia_s: float
    p90_stock_s: float
    p90_justitia_s: float

    @property
    def mean_ratio(self) -> float:
        """Mean under Justitia over mean under stock vLLM; below 1 is sooner."""
        return _ratio(self.mean_justitia_s, self.mean_stock_s)

    @property
    def p90_ratio(self) -> float:
        """The same of the p90."""
        return _ratio(self.p90_justitia_s, self.p90_stock_s)


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    What the demo found for one arrival order.

    Attributes:
        order: Which applications arrived first.
        seed: What the arrivals were drawn from.
        capacity_tokens: KV tokens the server holds.
        stock: The run under stock vLLM.
        justitia: The run under Justitia.
    """

    order: str
    seed: int
    capacity_tokens: int
    stock: Run
    justitia: Run

    def rows(self) -> list[Row]:
        """Return one row a kind, by name, and one for all."""
        kinds = sorted({application.kind for application in self.stock.applications})
        return [*(self._row(kind) for kind in kinds), self._row(ALL)]

    @property
    def makespan_ratio(self) -> float:
        """Makespan under Justitia over that under stock vLLM."""
        return _ratio(self.justitia.makespan_s, self.stock.makespan_s)

    @property
    def tokens_ratio(self) -> float:
        """Tokens of all calls under Justitia over those under stock vLLM; 1 is equal work."""
        return _ratio(self.justitia.total_tokens, self.stock.total_tokens)

    def _row(self, kind: str) -> Row:
        stock, justitia = (_of_kind(run.finished, kind) for run in (self.stock, self.justitia))
        return Row(
            kind,
            len(_of_kind(list(self.stock.applications), kind)),
            mean_jct_s(stock),
            mean_jct_s(justitia),
            p90_jct_s(stock),
            p90_jct_s(justitia),
        )


def comparison_table(comparison: Comparison) -> Table:
    """Return the table of completion times, with makespan and work below."""
    table = Table(title=f"Completion times, {comparison.order} (seconds)", title_justify="left")
    table.add_column("kind of application", no_wrap=True)
    for name in ("number", "mean stock", "mean Justitia", "ratio"):
        table.add_column(name, justify="right")
    for name in ("p90 stock", "p90 Justitia", "ratio"):
        table.add_column(name, justify="right")
    for row in comparison.rows():
        table.add_row(*_cells(row), style="bold" if row.kind == ALL else "", end_section=True)
    return table


def facts_table(comparison: Comparison) -> Table:
    """Return what must be known to judge the completion times: work, load and memory."""
    table = Table(title="Beside it", title_justify="left")
    table.add_column("")
    for name in ("stock vLLM", "Justitia", "ratio"):
        table.add_column(name, justify="right")
    runs = (comparison.stock, comparison.justitia)
    load = [offered_load(run, capacity_tokens=comparison.capacity_tokens) for run in runs]
    table.add_row("makespan, s", *_pair(*(run.makespan_s for run in runs), digits=1))
    table.add_row("tokens of all calls", *_pair(*(run.total_tokens for run in runs)))
    table.add_row("KV token-time of all calls", *_pair(*(run.total_cost for run in runs)))
    table.add_row("engine iterations", *_pair(*(run.use.num_iterations for run in runs)))
    table.add_row("iterations a busy second", *_pair(*(run.use.iterations_per_s for run in runs)))
    table.add_row("offered load", *_pair(*load, digits=2))
    table.add_row("KV memory in use, mean", *_percent(run.use.mean_kv_ratio for run in runs))
    table.add_row("KV memory in use, peak", *_percent(run.use.peak_kv_ratio for run in runs))
    table.add_row("most calls waiting", *(str(run.use.peak_calls_waiting) for run in runs))
    table.add_row("preemptions", *(str(run.use.num_preemptions) for run in runs))
    table.add_row("latest start after arrival, s", *(f"{run.worst_slip_s:.2f}" for run in runs))
    table.add_row("failed applications", *(str(len(run.failed)) for run in runs))
    return table


def notes(comparison: Comparison) -> list[str]:
    """Return the sentences that say what the figures are and are not."""
    return [
        "The model is a toy with random weights: its text is noise, so the client forces the "
        "length of every answer; tool calls are as long as their schema makes them.",
        f"Both servers: vLLM, {comparison.capacity_tokens:,} tokens of KV memory, the same options "
        "and arrivals, real HTTP and clients. Times hold for this machine.",
        "Offered load: KV token-time of all calls (p*d + d(d+1)/2 each, shared prompts not "
        "deducted) over KV capacity x iterations/s x arrival span. The iteration rate is measured "
        "in the run: vLLM's count of iterations over the seconds in which calls were running. "
        "Above 1, work arrives faster than it can be done.",
    ]


def as_fields(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain JSON fields."""
    return {
        "order": comparison.order,
        "seed": comparison.seed,
        "capacity_tokens": comparison.capacity_tokens,
        "mean_jct_ratio": _number(comparison.rows()[-1].mean_ratio),
        "makespan_ratio": _number(comparison.makespan_ratio),
        "tokens_ratio": _number(comparison.tokens_ratio),
        "kinds": [_row_fields(row) for row in comparison.rows()],
        "runs": {
            run.server: _run_fields(run, comparison.capacity_tokens)
            for run in (comparison.stock, comparison.justitia)
        },
    }


def _run_fields(run: Run, capacity_tokens: int) -> dict[str, Any]:
    return {
        "makespan_s": _number(run.makespan_s),
        "mean_jct_s": _number(mean_jct_s(run.finished)),
        "total_tokens": run.total_tokens,
        "total_cost": run.total_cost,
        "offered_load": _number(offered_load(run, capacity_tokens=capacity_tokens)),
        "iterations_per_s": _number(run.use.iterations_per_s),
        "worst_slip_s": _number(run.worst_slip_s),
        "failed": {application.app_id: application.error for application in run.failed},
        **{name: _number(value) for name, value in asdict(run.use).items()},
    }


def _row_fields(row: Row) -> dict[str, Any]:
    fields = asdict(row) | {"mean_ratio": row.mean_ratio, "p90_ratio": row.p90_ratio}
    return {name: _number(value) for name, value in fields.items()}


def _number(value: Any) -> Any:
    """Return floats with four digits behind the point, and null where there is no number."""
    if not isinstance(value, float):
        return value
    return round(value, 4) if math.isfinite(value) else None


def _of_kind(applications: list[Application], kind: str) -> list[Application]:
    return [item for item in applications if kind in (item.kind, ALL)]


def _cells(row: Row) -> list[str]:
    mean = (_shown(row.mean_stock_s, 1), _shown(row.mean_justitia_s, 1), _shown(row.mean_ratio, 2))
    p90 = (_shown(row.p90_stock_s, 1), _shown(row.p90_justitia_s, 1), _shown(row.p90_ratio, 2))
    return [row.kind, str(row.number), *mean, *p90]


def _pair(stock: float, justitia: float, *, digits: int = 0) -> list[str]:
    return [_shown(stock, digits), _shown(justitia, digits), _shown(_ratio(justitia, stock), 3)]


def _shown(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def _ratio(justitia: float, stock: float) -> float:
    """Return *justitia* over *stock*; NaN where the latter is nothing."""
    return justitia / stock if stock else math.nan


def _percent(ratios: Any) -> list[str]:
    return [f"{ratio:.0%}" for ratio in ratios]
