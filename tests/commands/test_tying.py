"""Weights that are one under two names on two stages of a pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import gradclip_cli

NUMBERS = np.random.default_rng(8)
EMBEDDING = NUMBERS.standard_normal((20, 10))
EMBEDDING *= np.sqrt(800) / np.linalg.norm(EMBEDDING)


def stages(first: dict[str, Any], second: dict[str, Any], folder: str = "stages") -> str:
    """Write what two stages hold."""
    Path(folder).mkdir()
    save_file({"a.weight": np.zeros(3), **first}, f"{folder}/stage0.safetensors")
    save_file({"b.weight": np.zeros(3), **second}, f"{folder}/stage1.safetensors")
    return folder


def ties(folder: str) -> list[str]:
    """Give what is said of the same values."""
    return [one for one in gradclip_cli.inspect(folder).notes if "hold the same values" in one]


def test_a_tied_embedding_is_named_with_the_norm_that_counts_it_once(here: Path) -> None:
    # https://github.com/NVIDIA/Megatron-LM/pull/7227
    folder = stages({"embedding.weight": EMBEDDING}, {"output_layer.weight": EMBEDDING})
    assert ties(folder) == [
        "embedding.weight, output_layer.weight hold the same values: if they are one weight, "
        "--exclude 'output_layer.weight' counts it once, and the norm is 28.284"
    ]
    assert gradclip_cli.inspect(folder).global_norm == pytest.approx(40)
    once = gradclip_cli.inspect(folder, exclude="output_layer.weight").global_norm
    assert once == pytest.approx(800**0.5)
    assert gradclip_cli.explain(folder, logged="28.284").fits[0].hypotheses == ("tied",)


def test_under_one_name_it_is_a_copy(here: Path) -> None:
    folder = stages({"embedding.weight": EMBEDDING}, {"embedding.weight": EMBEDDING})
    assert gradclip_cli.inspect(folder).global_norm == pytest.approx(800**0.5)
    assert ties(folder) == []
    explained = gradclip_cli.explain(folder, logged="40")
    assert explained.fits[0].says == "copies counted 2 times"


def test_what_may_be_the_same_by_chance_or_in_one_file_is_not_named(here: Path) -> None:
    changed = EMBEDDING.copy()
    changed[3, 4] = -changed[3, 4]  # the same moments
    assert ties(stages({"e": EMBEDDING}, {"f": changed}, "changed")) == []
    assert ties(stages({"e": EMBEDDING[0]}, {"f": EMBEDDING[0]}, "few")) == []
    assert ties(stages({"e": EMBEDDING, "f": EMBEDDING}, {"g": changed[0]}, "file")) == []
    assert ties(stages({"e": np.zeros(99)}, {"f": np.zeros(99)}, "zeros")) == []
