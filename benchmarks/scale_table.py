"""What was found of clusters, as tables and as a picture."""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.plans import PLANS, Found
from benchmarks.sheet import Cells, Sheet
from benchmarks.table import amount, described

if TYPE_CHECKING:
    from benchmarks.scale import Scale

_LIMIT = 512 << 20  # bytes of the driver for two million spans
_PLANS = ("plan", "pass", "workers", "batches", "run", "driver", "a batch", "Dask's part")
_PLANS_TOO = ("memory", "the dump's part", "slowest")
_BESIDE = ("command", "workers", "threads", "workers' time", "ratio", "foretold")


def sheets(scale: "Scale") -> Sequence[Sheet]:
    """Lay out the plans, then real workers beside threads."""
    titles = (*_PLANS, *_PLANS_TOO)
    plans = Sheet(
        titles,
        frozenset(titles[2:-1]),
        [_plan(found) for found in scale.found],
        [described(scale.machine), *_remarks(scale)],
    )
    if not scale.beside:
        return [plans]
    beside = Sheet(
        _BESIDE,
        frozenset(_BESIDE[1:]),
        [
            (
                one.command,
                str(one.workers),
                amount(statistics.median(one.threads), "time"),
                amount(statistics.median(one.cluster), "time"),
                f"{one.ratio:.2f} ×",
                "–" if one.foretold is None else amount(one.foretold, "time"),
            )
            for one in scale.beside
        ],
        [],
    )
    return [plans, beside]


def _plan(found: Found) -> Cells:
    return (
        PLANS[found.plan].label,
        found.doing,
        f"{found.workers:,}",
        f"{found.batches:,}",
        amount(found.took, "time") if found.took < 1e4 else f"{found.took / 3600:.1f} h",
        amount(found.driver, "time"),
        f"{found.driver / found.batches * 1000:.2f} ms",
        f"{found.asking / found.batches * 1000:.2f} ms",
        amount(found.memory, "memory"),
        amount(found.dump, "memory"),
        found.bottleneck,
    )


def _remarks(scale: "Scale") -> Iterator[str]:
    begin, end = scale.load
    yield f"Load of the machine at the start and at the end: {begin:.1f}, {end:.1f}."
    for workers, took in scale.dask.items():
        yield (
            f"An empty batch on Dask, workers: {workers}: driver {took['asking'] * 1000:.2f} ms, "
            f"scheduler {took['scheduling'] * 1000:.2f} ms, one after the other "
            f"{took['wall'] * 1000:.2f} ms."
        )
    spans = [one.memory for one in scale.found if one.plan == "spans"]
    if spans:
        kept = "under" if max(spans) < _LIMIT else "not under"
        yield f"The driver's memory for the spans is {kept} {_LIMIT >> 20} MiB."


def draw(scale: "Scale", path: Path) -> None:
    """Draw run time and driver time of both passes together over the number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, each = plt.subplots(1, len(PLANS), figsize=(9, 3.6), layout="constrained")
    for axes, (name, shape) in zip(each, PLANS.items(), strict=True):
        own = [one for one in scale.found if one.plan == name]
        grouped = [
            (workers, list(some))
            for workers, some in itertools.groupby(own, key=lambda one: one.workers)
        ]
        at = [workers for workers, _ in grouped]
        axes.loglog(at, [sum(one.took for one in some) for _, some in grouped], "o-", label="run")
        axes.loglog(
            at, [sum(one.driver for one in some) for _, some in grouped], "s--", label="driver"
        )
        axes.set_xticks(at, [f"{workers:,}" for workers in at])
        axes.minorticks_off()
        axes.set(title=shape.label, xlabel="workers", ylabel="seconds, both passes")
        axes.set_ylim(bottom=1)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
