"""Numbers that people asked about in public, each with the dump that they came from, made anew.

A dump is made of norms alone: what its tensors hold beside these does not matter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

Norms = Mapping[str, float | tuple[float, ...]]
"""By the names of tensors: the norm of a matrix, or the values of a vector."""


@dataclass(frozen=True)
class Thread:
    """What was logged, the norm that it should have been, the words of the answer, and where.

    `files` has what each file holds, by its name. Tensors called `shared…` are copies.
    """

    hypothesis: str
    url: str
    files: Mapping[str, Norms]
    norm: float
    logged: str
    says: str
    combine: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write the dump."""
        for name, norms in self.files.items():
            path = folder / f"{name}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays = {key: _array(key, norm) for key, norm in norms.items()}
            save_file(arrays, path)
        return folder


def _array(name: str, norm: float | tuple[float, ...]) -> Any:
    if isinstance(norm, tuple):
        return np.array(norm)
    values = np.random.default_rng([*name.encode()]).standard_normal((8, 4))
    if name.endswith("norm.weight"):
        values = values.reshape(-1)
    return values * (norm / np.linalg.norm(values))


def _ranks(count: int, shared: float, own: float) -> dict[str, Norms]:
    """Give what so many ranks hold, by the squares of what is the same on all and of the rest."""
    return {
        f"rank{rank}": {
            "shared.norm.weight": math.sqrt(shared),
            f"own.{rank}.weight": math.sqrt(own / count),
        }
        for rank in range(count)
    }


GITHUB = "https://github.com/"

THREADS = (
    Thread(
        "copies",
        f"{GITHUB}ROCm/TransformerEngine/issues/715",
        _ranks(8, 9.761, 71.437),
        9.011,
        "12.228",
        "copies counted 8 times",
    ),
    Thread(
        "copies",
        f"{GITHUB}ROCm/TransformerEngine/issues/715",
        _ranks(8, (3.763**2 - 2.472**2) / 7, 2.472**2 - (3.763**2 - 2.472**2) / 7),
        2.472,
        "3.763",
        "copies counted 8 times",
    ),
    Thread(
        "copies",
        f"{GITHUB}mindspore-ai/hyper-parallel/issues/526",
        _ranks(8, (48**2 - 28**2) / 7, 28**2 - (48**2 - 28**2) / 7),
        28.0,
        "48",
        "copies counted 8 times",
    ),
    Thread(
        "copies",
        f"{GITHUB}NVIDIA/Megatron-LM/pull/7227",
        {
            f"stage{stage}": {"shared_embedding.weight": math.sqrt(800), f"{stage}.weight": 0.0}
            for stage in range(2)
        },
        28.284,
        "40",
        "copies counted 2 times",
    ),
    Thread(
        "tied",
        f"{GITHUB}NVIDIA/Megatron-LM/pull/7228",
        {
            "stage0": {"embedding.weight": tuple([5 * math.sqrt(2)] * 16)},
            "stage1": {"output_layer.weight": tuple([5 * math.sqrt(2)] * 16)},
        },
        40.0,
        "28.284",
        "counted once: embedding.weight",
    ),
    Thread(
        "tied",
        f"{GITHUB}NVIDIA/Megatron-LM/pull/7228",
        {"full": {"embedding.word_embeddings.weight": math.sqrt(800)}},
        28.284,
        "40.00",
        "the tied embedding embedding.word_embeddings.weight counted twice",
    ),
    Thread(
        "parts",
        f"{GITHUB}pytorch/pytorch/pull/159856",
        {"rank0": {"w": (1.0, 3.0)}, "rank1": {"w": (2.0, 1.0)}},
        5.0,
        "3.873",
        "parts taken for pieces: their squares added, not they themselves",
        ("sum",),
    ),
    Thread(
        "ranks",
        f"{GITHUB}pytorch/pytorch/pull/159856",
        {"rank0": {"w": (1.0, 3.0)}, "rank1": {"w": (2.0, 1.0)}},
        5.0,
        "5.398",
        "rank norms added, not their squares",
        ("sum",),
    ),
    Thread(
        "ranks",
        f"{GITHUB}deepspeedai/DeepSpeed/pull/8478",
        {"rank0": {"expert.0": math.sqrt(20)}, "rank1": {"expert.1": 10.0}},
        10.954452,
        "7.236068",
        "rank norms averaged",
    ),
    Thread(
        "one-rank",
        f"{GITHUB}NVIDIA-NeMo/Automodel/issues/3816",
        {
            "rank0": {"shared.weight": 4.0, "experts.0.w1": 40.0},
            "rank1": {"shared.weight": 4.0, "experts.1.w1": 0.4},
        },
        40.201493,
        "4.019950",
        "one rank only: ",
    ),
    Thread(
        "one-rank",
        f"{GITHUB}NVIDIA-NeMo/Automodel/issues/3816",
        {
            "rank0": {"shared.weight": 4.0, "experts.0.w1": 40.0},
            "rank1": {"shared.weight": 4.0, "experts.1.w1": 0.4},
        },
        40.201493,
        "40.199502",
        "one rank only: ",
    ),
    Thread(
        "experts",
        f"{GITHUB}radixark/Megatron-LM/pull/80",
        {
            "full": {
                "dense.weight": 11.0,
                "layers.0.experts.0.w1": math.sqrt(11.5135000849**2 - 121),
                **{
                    f"layers.0.experts.{number}.w1": math.sqrt(
                        (12.2754343246**2 - 11.5135000849**2) / 3
                    )
                    for number in (1, 2, 3)
                },
            }
        },
        12.2754343246,
        "11.5135000849",
        "of the experts one group alone: 0",
    ),
    Thread(
        "experts",
        f"{GITHUB}NVIDIA/Megatron-LM/pull/6470",
        {"full": {"dense": 1.0, "experts.0.bias": 1.0, "experts.1.bias": 1.0}},
        math.sqrt(3),
        "1.4142",
        "of the experts one group alone: 0",
    ),
    Thread(
        "embeddings",
        f"{GITHUB}NVIDIA/Megatron-LM/pull/7227",
        {"full": {"embedding.weight": math.sqrt(800), "decoder.weight": math.sqrt(800)}},
        40.0,
        "28.284",
        "embeddings left out: embedding.weight",
    ),
    Thread(
        "not-finite",
        f"{GITHUB}ZYang2077/DAOcc/issues/25",
        {"full": {"a": 7217.03, "b": (math.nan, 1.0)}},
        math.nan,
        "7217.03",
        "tensors that are not finite left out: b",
    ),
    Thread(
        "inf-norm",
        f"{GITHUB}meta-pytorch/torchrec/pull/3199",
        {"full": {"a": 55.5}},
        55.5,
        "1.000",
        "the inf norm taken as x ** (1/inf)",
    ),
    Thread(
        "inf-norm",
        f"{GITHUB}meta-pytorch/torchrec/pull/3199",
        {"full": {"a": (3.0, -8.125, 2.0)}},
        math.sqrt(79.015625),
        "8.1250",
        "the inf norm, not the L2 norm",
    ),
    Thread(
        "tensors",
        f"{GITHUB}pytorch/pytorch/pull/172288",
        {"full": {"a": (3.0, 4.0), "b": (5.0, 12.0)}},
        math.sqrt(194),
        "18.00",
        "tensor norms added, not their squares",
    ),
    Thread(
        "roots",
        f"{GITHUB}pytorch/pytorch/issues/151761",
        {"full": {"x1": 31622.7766}},
        31622.7766,
        "1.0000e+09",
        "the squared norm, its root not taken",
    ),
    Thread(
        "overflow",
        f"{GITHUB}facebookresearch/fairscale/pull/263",
        {"full": {"a": 5000.0}},
        5000.0,
        "inf",
        "the sum of squares overflows float16",
    ),
    Thread(
        "overflow",
        f"{GITHUB}jax-ml/jax/issues/39899",
        {"full": {"a": (100.0,) * 9}},
        300.0,
        "inf",
        "the sum of squares overflows float16",
    ),
    Thread(
        "each-rounded",
        f"{GITHUB}pytorch/torchtitan/pull/4135",
        {"full": {"a": 1.0259, "b": 1.0259}},
        1.4509,
        "1.4453",
        "norms of tensors and of all rounded to bfloat16",
    ),
    Thread(
        "clipped",
        f"{GITHUB}radixark/miles/pull/2132",
        {"full": {"a": (3.5, 1.2)}},
        3.7,
        "1.0000",
        "logged after clipping to 1",
    ),
    Thread(
        "clipped-each",
        f"{GITHUB}huggingface/transformers/pull/614",
        {"full": {f"p{number}": 2.5 + number for number in range(16)}},
        math.sqrt(sum((2.5 + number) ** 2 for number in range(16))),
        "4.0000",
        "logged after clipping each tensor to 1",
    ),
    Thread(
        "copies-otherwise",
        f"{GITHUB}NVIDIA-NeMo/RL/issues/3788",
        {"full": {"q_norm.weight": math.sqrt(9.761), "q_proj.weight": math.sqrt(71.437)}},
        9.011,
        "12.228",
        "tensors of one axis, the same on all ranks, counted 8 times",
    ),
    Thread(
        "loss-scale",
        f"{GITHUB}deepspeedai/DeepSpeed/issues/7837",
        {"full": {"a": 0.07462712 * 65536}},
        4890.763,
        "0.07462712",
        "a loss scale of 2^16 taken out, which the dump may still hold",
    ),
    Thread(
        "world-size",
        f"{GITHUB}pytorch/torchtitan/issues/2318",
        {"full": {"a": 1.4509}},
        1.4509,
        "11.6072",
        "summed over 8 ranks, not averaged",
    ),
    Thread(
        "accumulation",
        f"{GITHUB}huggingface/transformers/pull/35207",
        {"full": {"a": 188.29049682617188 / 6}},
        188.29049682617188 / 6,
        "188.29049682617188",
        "summed over 6 micro-batches, not averaged",
    ),
    Thread(
        "rounded",
        f"{GITHUB}facebookresearch/fairscale/issues/1092",
        {"full": {"a": 5.6903}},
        5.6903,
        "5.6875",
        "rounded to bfloat16",
    ),
)
