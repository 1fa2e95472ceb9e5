"""Runs of a few steps, written in a line."""

import math
from pathlib import Path

import gradclip_cli
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.spikes import SpikeRule
from tests.dumps import Stored, floats, write_safetensors

NAN, INF = math.nan, math.inf


def write_steps(folder: Path, *steps: dict[str, list[float]], dtype: str = "F64") -> list[str]:
    """Write a step a dump, numbered from 0; give their paths in order."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, tensors in enumerate(steps):
        path = folder / f"step-{number}.safetensors"
        stored: dict[str, Stored] = {
            name: floats(dtype, (len(values),), values) for name, values in tensors.items()
        }
        write_safetensors(path, stored)
        paths.append(str(path))
    return paths


def of_norms(folder: Path, *norms: float, spike: SpikeRule | None = None) -> Trend:
    """Follow a run whose steps have these norms."""
    paths = write_steps(folder, *({"w": [norm]} for norm in norms))
    return gradclip_cli.trend(*paths, spike=spike)
