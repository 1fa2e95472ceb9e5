"""Gradients of one small model as real runs of several processes leave them, dumped in plain ways.

`python -m tests.ranks FOLDER PORT COUNT` trains one step in each way of parallelism, over gloo, on
the batch that one process has. What each leaves stands in a folder of its own.
"""

import os
import sys
from pathlib import Path
from typing import Any

BATCH, WIDTH = 8, 6


def model(scale: Any = (1.5,)) -> Any:
    """Make the model: an embedding, a norm, two layers that tensor parallelism splits, a scale."""
    import torch

    class Model(torch.nn.Module):  # type: ignore[misc] # torch may be missing
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(11, WIDTH)
            self.norm = torch.nn.LayerNorm(WIDTH)
            self.up = torch.nn.Linear(WIDTH, 4 * WIDTH)
            self.down = torch.nn.Linear(4 * WIDTH, WIDTH)
            self.head = torch.nn.Linear(WIDTH, 3)  # fewer rows than four processes
            self.scale = torch.nn.Parameter(torch.tensor(scale))

        def forward(self, tokens: Any) -> Any:
            x = self.norm(self.embedding(tokens))
            x = x + self.down(torch.relu(self.up(x)))
            return self.head(x * self.scale)

    torch.manual_seed(0)
    return Model()


def loss(made: Any, begin: int, end: int) -> Any:
    """Give the mean loss of some examples of the batch."""
    import torch

    numbers = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 11, (BATCH, 5), generator=numbers)
    wanted = torch.randint(0, 3, (BATCH, 5), generator=numbers)
    out = made(tokens[begin:end]).flatten(0, 1)
    return torch.nn.functional.cross_entropy(out, wanted[begin:end].flatten())


def grads(made: Any) -> dict[str, Any]:
    return {name: p.grad for name, p in made.named_parameters() if p.grad is not None}


def local(made: Any) -> dict[str, Any]:
    """Give what this rank holds of each gradient."""
    from torch.distributed.tensor import DTensor

    found = grads(made)
    return {n: g.to_local() if isinstance(g, DTensor) else g for n, g in found.items()}


def alone(folder: Path) -> None:
    """Dump the gradient as one process has it."""
    from safetensors.torch import save_file

    made = model()
    loss(made, 0, BATCH).backward()
    save_file(grads(made), folder / "alone.safetensors")


def write(rank: int, folder: str, port: int, count: int) -> None:
    """Train in each way, as one of so many processes."""
    import torch
    import torch.distributed as dist

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=count)
    ways = [data_parallel, fully_sharded, tensor_parallel]
    for way in (*ways, *([replicated_shards, in_two_dimensions] if count == 4 else [])):
        way(Path(folder), rank, count)
    dist.destroy_process_group()
    if rank == 0:
        alone(Path(folder))


def part(rank: int, count: int) -> tuple[int, int]:
    """Give the examples of a rank."""
    return rank * BATCH // count, (rank + 1) * BATCH // count


def placed(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True, exist_ok=True)
    return folder / name


def data_parallel(folder: Path, rank: int, count: int) -> None:
    """Dump before and after the gradients are averaged over the ranks, and sums of their parts."""
    import torch
    from safetensors.torch import save_file
    from torch.nn.parallel import DistributedDataParallel

    made = DistributedDataParallel(model())
    with made.no_sync():
        loss(made, *part(rank, count)).backward()
    torch.save(grads(made), placed(folder, "ddp-before") / f"rank{rank}.pt")
    parts = {name: grad / count for name, grad in grads(made).items()}
    save_file(parts, placed(folder, "ddp-sum") / f"rank{rank}.safetensors")
    made.zero_grad()
    loss(made, *part(rank, count)).backward()
    save_file(grads(made), placed(folder, "ddp") / f"rank{rank}.safetensors")
    torch.save(grads(made), placed(folder, "ddp-pt") / f"rank{rank}.pt")


def fully_sharded(folder: Path, rank: int, count: int) -> None:
    """Dump local shards, the whole from the first rank, and a distributed checkpoint."""
    import torch
    import torch.distributed.checkpoint as dcp
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (count,))
    made = model()
    for layer in (made.up, made.down):
        fully_shard(layer, mesh=mesh)
    fully_shard(made, mesh=mesh)
    loss(made, *part(rank, count)).backward()
    save_file(local(made), placed(folder, "fsdp") / f"rank{rank}.safetensors")
    torch.save(local(made), placed(folder, "fsdp-pt") / f"rank{rank}.pt")

    full = {name: grad.full_tensor() for name, grad in grads(made).items()}
    if rank == 0:
        torch.save(full, placed(folder, "fsdp-full") / "grads.pt")
    dcp.save(grads(made), checkpoint_id=placed(folder, "fsdp-dcp"))


def tensor_parallel(folder: Path, rank: int, count: int) -> None:
    """Dump what each rank of a tensor-parallel model holds: pieces, and copies of all else."""
    import torch
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (count,))
    for name, scale in {"tp": 1.5, "tp-one": (1.5,)}.items():
        made = model(scale)
        parallelize_module(made, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
        loss(made, 0, BATCH).backward()
        torch.save(local(made), placed(folder, f"{name}-pt") / f"rank{rank}.pt")
        own = {name: grad.contiguous() for name, grad in local(made).items()}
        save_file(own, placed(folder, name) / f"rank{rank}.safetensors")


def replicated_shards(folder: Path, rank: int, count: int) -> None:
    """Dump local shards where they are sharded over half the ranks, and copied to the others."""
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2, count // 2), mesh_dim_names=("replicate", "shard"))
    made = model()
    fully_shard(made, mesh=mesh)
    loss(made, *part(rank, count)).backward()
    save_file(local(made), placed(folder, "hsdp") / f"rank{rank}.safetensors")


def in_two_dimensions(folder: Path, rank: int, count: int) -> None:
    """Dump local pieces of what is split by tensor parallelism, and sharded over it."""
    from safetensors.torch import save_file
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    mesh = init_device_mesh("cpu", (2, count // 2), mesh_dim_names=("dp", "tp"))
    made = model()
    parallelize_module(made, mesh["tp"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
    fully_shard(made, mesh=mesh["dp"])
    loss(made, *part(rank // (count // 2), 2)).backward()
    own = {name: grad.contiguous() for name, grad in local(made).items()}
    save_file(own, placed(folder, "2d") / f"rank{rank}.safetensors")


if __name__ == "__main__":
    import torch.distributed.fsdp
    import torch.distributed.tensor.parallel
    import torch.multiprocessing  # which has them import it but once

    given = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.multiprocessing.start_processes(write, given, nprocs=given[2], start_method="fork")
