"""Gradients as tools leave them on disk, made in small: two steps, mostly of two ranks.

Each maker writes the gradient `W` times the number of the step, and `B`, into a folder; what comes
out of it and what has to be typed stands beside it. `docs/formats.md` has the same table.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests import dcps, pts

W = np.arange(1, 33, dtype="<f4").reshape(8, 4)
B = np.array([3, 4, 12, 84], "<f4")  # of norm 85.0999…
STEPS = (9, 10)
ORBAX = Path(__file__).parent / "formats" / "zarr" / "orbax"


def norm(step: int, *others: Any) -> float:
    """Give the global norm of a step, of `W` times its number and `B` unless others are given."""
    parts = others or (W * step, B)
    return float(np.sqrt(sum(np.sum(np.square(part, dtype="f8")) for part in parts)))


def torch_file(path: Path, values: Any, **beside: Any) -> None:
    """Write an array, or a dict of arrays and whatever else, as torch.save does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    storages: list[pts.Stored] = []

    def view(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: view(part) for name, part in one.items()}
        if not isinstance(one, np.ndarray):
            return one
        stored, tensor = pts.tensor(str(len(storages)), one)
        storages.append(stored)
        return tensor

    root = view(values | beside if isinstance(values, dict) else values)
    path.write_bytes(pts.archive(root, storages))


def halves(step: int) -> list[tuple[Any, Any]]:
    """Give what two ranks hold of tensor parallelism: a half of `W`, and `B`."""
    return [(W[4 * rank :][:4] * np.float32(step), B) for rank in (0, 1)]


def flat_ranks(folder: Path) -> None:
    """Write files of all ranks and steps side by side."""
    folder.mkdir()
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            save_file({"w": w, "b": b}, folder / f"rank{rank}_step{step}.safetensors")


def ranks_of_steps(folder: Path) -> None:
    """Write a folder for each step, a file for each rank."""
    for step in STEPS:
        (folder / f"step_{step}").mkdir(parents=True)
        for rank, (w, b) in enumerate(halves(step)):
            save_file({"w": w, "b": b}, folder / f"step_{step}" / f"rank_{rank:05}.safetensors")


def steps_of_ranks(folder: Path) -> None:
    """Write a folder for each rank, in it one for each step, as msprobe's grad_probe does."""
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            place = folder / f"rank{rank}" / f"step{step}"
            torch_file(place / "layer.w.pt", w)
            torch_file(place / "layer.b.pt", b)


def megatron(folder: Path) -> None:
    """Write a folder for each iteration, in it one for each rank and stage of the model."""
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            place = folder / f"iter_{step:07}" / f"mp_rank_{rank:02}_000"
            torch_file(place / "decoder.w.pt", w)
            torch_file(place / "decoder.b.pt", b)


def deepspeed(folder: Path) -> None:
    """Write flat partitions of all gradients, one for each rank of ZeRO."""
    for step in STEPS:
        whole = np.concatenate([(W * np.float32(step)).ravel(), B])
        for rank, part in enumerate(np.split(whole, [20])):
            path = folder / f"global_step{step}" / f"zero_pp_rank_{rank}_mp_rank_00_grads.pt"
            torch_file(path, part)


def msprobe(folder: Path) -> None:
    """Write as msprobe dumps: a file for each tensor of the passes, and a dump.json."""
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            place = folder / f"step{step}" / f"rank{rank}"
            tensors = place / "dump_tensor_data"
            torch_file(tensors / "Module.conv1.Conv2d.parameters_grad.0.weight.pt", w)
            torch_file(tensors / "Module.conv1.Conv2d.parameters_grad.0.bias.pt", b)
            torch_file(tensors / "Module.conv1.Conv2d.forward.0.input.0.pt", W)
            torch_file(tensors / "Module.conv1.Conv2d.backward.0.output.0.pt", W)
            said = json.dumps({"task": "tensor", "data": {}})
            (place / "dump.json").write_text(said[: 20 * (rank + 1)])  # cut, as after a crash


def transformer_engine(folder: Path) -> None:
    """Write as TransformerEngine dumps: layer, tensor and iteration in the name of a file."""
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            for what, values in (("fc1_wgrad", w), ("fc2_wgrad", b), ("fc1_activation", W)):
                path = folder / f"rank_{rank}" / f"decoder_layers_0_{what}_iter_{step:06}.pt"
                torch_file(path, {"high_precision": values})


def sglang(folder: Path) -> None:
    """Write as SGLang dumps: everything in the name of a file, the tensor as `value`."""
    folder.mkdir()
    for number, step in enumerate(STEPS):
        for rank, (w, b) in enumerate(halves(step)):
            for at, (name, values) in enumerate(
                (
                    ("grad__param__model.layers.0.batch_norm.w", w),
                    ("grad__param__model.layers.0.b", b),
                    ("param__model.layers.0.b", W),
                    ("grad__hidden", W),
                )
            ):
                said = f"step={step}___rank={rank}___dump_index={4 * number + at}___name={name}"
                path = folder / f"{said}___recompute_status=disabled.pt"
                torch_file(path, {"value": values}, meta={"step": step, "dims": "t h"})


def olmo(folder: Path) -> None:
    """Write as the gradient dumper of OLMo-core: a whole checkpoint, samples beside it."""
    for step in STEPS:
        place = folder / f"step{step}"
        place.mkdir(parents=True)
        whole = {"blocks.0.w": W * np.float32(step), "blocks.0.b": B}
        cut = {name: [[2] * 1] + [[]] * (one.ndim - 1) for name, one in whole.items()}
        chunks = {name: (one.shape, dcps.split(one, cut[name])) for name, one in whole.items()}
        dcps.write(place / "full_gradients", chunks)
        (place / "sampled_gradients").mkdir()
        for name, one in whole.items():
            path = place / "sampled_gradients" / f"{name}_first2.safetensors"
            save_file({"gradient": one[:2]}, path)


def olmo_samples(folder: Path) -> None:
    """Write the same where it takes samples alone."""
    olmo(folder)
    for step in STEPS:
        shutil.rmtree(folder / f"step{step}" / "full_gradients")


def by_hand(folder: Path) -> None:
    """Write a file for each step, as many a script does."""
    for step in STEPS:
        torch_file(folder / f"grads_step_{step}.pt", {"w": W * np.float32(step), "b": B})


def bit16_groups(folder: Path) -> None:
    """Write archives of ranks, whose step is a number without a word for it."""
    folder.mkdir()
    for step in STEPS:
        for rank, (w, b) in enumerate(halves(step)):
            np.savez(folder / f"rank_{rank}_bit16_groups_grads_{step}.npz", w, b)


def hugging_face(folder: Path) -> None:
    """Write checkpoints as Hugging Face's Trainer: shards, an index, an optimizer beside."""
    for step in STEPS:
        place = folder / f"checkpoint-{step}"
        place.mkdir(parents=True)
        names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        save_file({"w": W * np.float32(step)}, place / names[0])
        save_file({"b": B}, place / names[1])
        index = {"weight_map": {"w": names[0], "b": names[1]}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
        torch_file(place / "optimizer.pt", {"state": W})


def orbax(folder: Path) -> None:
    """Write checkpoints of Orbax, a folder for each step, named by its number alone."""
    for step in STEPS:
        shutil.copytree(ORBAX, folder / str(step))


def deepspeed_checkpoint(folder: Path) -> None:
    """Write a checkpoint of DeepSpeed ZeRO, which holds weights and states, and no gradient."""
    for step in STEPS:
        place = folder / f"global_step{step}"
        weights = {"w": W * np.float32(step), "b": B}
        torch_file(place / "mp_rank_00_model_states.pt", {"module": weights})
        for rank in (0, 1):
            state = {"fp32_flat_groups": W.ravel()[16 * rank :][:16]}
            path = place / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
            torch_file(path, state)


def fairchem(folder: Path) -> None:
    """Write the check sums of fairchem, a log in text for each rank and step."""
    folder.mkdir()
    for step in STEPS:
        for rank in (0, 1):
            path = folder / f"ddp2.{rank}_gp1.0_step{step}.txt"
            path.write_text(f"Loss,0.5\nParam,{step},w,0.1\nGrad,{step},w,0.25\n")


@dataclass(frozen=True)
class Layout:
    """A layout, what is typed to follow its steps, and the norm of each.

    `one` is a step of it, as a pattern; `combine` what the files do not tell. `counts` says what is
    named and not counted.
    """

    make: Callable[[Path], None]
    one: str
    combine: str = ""
    norm: Callable[[int], float] = norm
    counts: str = ""


LAYOUTS: Mapping[str, Layout] = {
    "rankR_stepN": Layout(flat_ranks, "rank*_step9.safetensors", "pieces"),
    "step_N/rank_R": Layout(ranks_of_steps, "step_9", "pieces"),
    "msprobe grad_probe": Layout(steps_of_ranks, "rank*/step9", "pieces"),
    "Megatron": Layout(megatron, "iter_0000009", "pieces"),
    "DeepSpeed ZeRO": Layout(deepspeed, "global_step9", "pieces"),
    "msprobe": Layout(msprobe, "step9", "pieces", counts="no gradients of parameters"),
    "TransformerEngine": Layout(transformer_engine, "rank_*/*_iter_000009.pt", "pieces", counts=""),
    "SGLang": Layout(sglang, "step=9___*.pt", "pieces"),
    "OLMo-core": Layout(olmo, "step9", counts="samples of gradients"),
    "OLMo-core, samples alone": Layout(
        olmo_samples, "step9", norm=lambda step: norm(step, W[:2] * step, B[:2])
    ),
    "grads_step_N.pt": Layout(by_hand, "grads_step_9.pt"),
    "bit16_groups_grads": Layout(bit16_groups, "rank_*_bit16_groups_grads_9.npz", "pieces"),
    "DeepSpeed ZeRO, checkpoints": Layout(
        deepspeed_checkpoint, "global_step9", counts="2 files not counted, beside the dump"
    ),
    "Hugging Face": Layout(hugging_face, "checkpoint-9"),
}
