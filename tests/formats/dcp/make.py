"""Make the checkpoints of this folder anew: two processes, FSDP and tensors sharded by hand."""

import json
import os
import sys
from pathlib import Path
from typing import Any


def write(rank: int, folder: str, port: int) -> None:
    """Save the gradients of a model and a few tensors, with both writers; the first says norms."""
    import torch
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
    fully_shard(model, mesh=mesh)
    model(torch.randn(4, 5)).pow(2).sum().backward()
    some = torch.arange(24.0).reshape(6, 4)
    tensors: dict[str, Any] = {
        **{f"grads.{name}": value.grad for name, value in model.named_parameters()},
        "columns": distribute_tensor(some, mesh, [Shard(1)]),
        "copies": distribute_tensor(some[:2].bfloat16(), mesh, [Replicate()]),
        "turned": distribute_tensor(some.T.contiguous().T, mesh, [Shard(0)]),
        "one": distribute_tensor(some[:1].double(), mesh, [Shard(0)]),
    }
    besides = {"step": 7, "optim": {"m": distribute_tensor(some, mesh, [Shard(0)])}}
    dcp.save({**tensors, **besides}, checkpoint_id=f"{folder}/plain")
    writer = HuggingFaceStorageWriter(f"{folder}/sharded", save_distributed=True)
    dcp.save(tensors, storage_writer=writer)
    norms = {
        name: float(torch.linalg.vector_norm(value.full_tensor().double()))
        for name, value in tensors.items()
    }
    if rank == 0:
        Path(folder, "norms.json").write_text(json.dumps(norms, indent=1) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    import torch.multiprocessing

    torch.multiprocessing.spawn(write, (sys.argv[1], int(sys.argv[2])), nprocs=2)
