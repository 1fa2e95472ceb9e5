"""The recipes of `docs/recipes.md`, and a short run of each trainer that follows one.

`python -m tests.recipes NAME PORT` trains, in the folder where it is called, until the recipe's own
lines have dumped step 7, and prints the norm that the library says that step has.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"
_SECTION = re.compile(r"^## ", re.MULTILINE)
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

BLOCKS: dict[str, dict[str, str]] = {
    section.partition("\n")[0]: dict(found)
    for section in _SECTION.split(PAGE.read_text("utf-8"))
    if (found := _BLOCK.findall(section))
}
"""The lines of each recipe in Python, and the command after it."""

STEP = 7
TOKENS = (11, 4, 5)  # how many there are, examples, length


def lines(name: str) -> dict[str, Any]:
    """Run a recipe's lines, and give what they define."""
    space: dict[str, Any] = {}
    exec(compile(BLOCKS[name]["python"], f"{PAGE.name}: {name}", "exec"), space)
    return space


def torch_model() -> Any:
    """Make a model whose last layer is tied to the first."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Embedding(11, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 6), torch.nn.ReLU()
    )
    model.append(torch.nn.Linear(6, 11, bias=False))
    return model


def torch_loss(model: Any, seed: int = 0) -> Any:
    """Give the loss of a random batch."""
    import torch

    count, *shape = TOKENS
    numbers = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, count, shape, generator=numbers)
    return torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())


def pytorch() -> float:
    import torch

    model = torch_model()
    torch_loss(model).backward()
    lines("PyTorch")["dump"](model, STEP)
    return float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3))


def trainer() -> float:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, TrainingArguments

    class Model(PreTrainedModel):  # type: ignore[misc] # may be missing
        config_class = PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.layers = torch_model()
            self.post_init()

        def forward(self, tokens: Any, labels: Any) -> Any:
            out = self.layers(tokens)
            loss = torch.nn.functional.cross_entropy(out.flatten(0, 1), labels.flatten())
            return {"loss": loss, "logits": out}

    data = [{"tokens": torch.arange(5) + n % 6, "labels": torch.arange(5)} for n in range(4 * STEP)]
    arguments = TrainingArguments(
        "out",
        max_steps=STEP,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_grad_norm=1e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    made = lines("Hugging Face Trainer")["DumpingTrainer"](
        Model(PretrainedConfig()), arguments, train_dataset=data
    )
    made.train()
    return float(next(one["grad_norm"] for one in made.state.log_history if one["step"] == STEP))


def lightning() -> float:
    import lightning
    import torch
    from lightning.pytorch.utilities import grad_norm

    found = []

    class Module(lightning.LightningModule):  # type: ignore[misc] # may be missing
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch_model()

        def training_step(self, batch: Any, number: int) -> Any:
            return torch_loss(self.layers, number)

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            found.append(float(grad_norm(self, 2)["grad_2.0_norm_total"]))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    made = lightning.Trainer(
        accelerator="cpu",
        max_steps=STEP + 1,
        gradient_clip_val=1e-3,
        callbacks=[lines("Lightning")["Dump"]()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    made.fit(Module(), torch.utils.data.DataLoader(torch.zeros(2 * STEP, 1)))
    return found[STEP]


def jax() -> float:
    import jax
    import optax

    params = {"dense": [{"kernel": jax.numpy.ones((3, 2)), "bias": jax.numpy.arange(2.0)}]}

    def loss(params: Any) -> Any:
        (layer,) = params["dense"]
        return ((jax.numpy.arange(3.0) @ layer["kernel"] + layer["bias"]) ** 2).sum()

    gradients = jax.grad(loss)(params)
    dump = lines("JAX with optax")["dump"]
    dump(gradients, STEP)
    jax.jit(lambda grads: jax.debug.callback(dump, grads, STEP + 1))(gradients)
    return float(optax.global_norm(gradients))


def flax() -> float:
    import jax
    import optax
    from flax import nnx

    class Model(nnx.Module):  # type: ignore[misc] # may be missing
        def __init__(self, rngs: Any) -> None:
            self.embedding = nnx.Embed(11, 6, rngs=rngs)
            self.layers = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(2)])

        def __call__(self, tokens: Any) -> Any:
            x = self.embedding(tokens)
            for layer in self.layers:
                x = jax.nn.relu(layer(x))
            return x

    model = Model(nnx.Rngs(0))
    tokens = jax.numpy.arange(5)
    _, gradients = nnx.value_and_grad(lambda model: (model(tokens) ** 2).sum())(model)
    lines("Flax")["dump"](gradients, STEP)
    return float(optax.global_norm(gradients))


def keras() -> float:
    import keras
    import numpy as np
    import tensorflow
    from keras.src.optimizers.base_optimizer import global_norm

    kind = lines("Keras")["Dumping"]
    found: list[float] = []

    class Heard(kind):  # type: ignore[misc, valid-type] # made of the page's lines
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            whole = [tensorflow.convert_to_tensor(grad) for grad in grads]
            found.append(float(tensorflow.linalg.global_norm(whole)))
            assert float(global_norm(grads)) < 0.999 * found[-1], "as the page says"
            super().apply(grads, trainable_variables)

    model = keras.Sequential([keras.layers.Embedding(11, 6), keras.layers.Dense(3)])
    model.compile(
        optimizer=Heard(1e-3, global_clipnorm=1e-3), loss="mse", run_eagerly=True, jit_compile=False
    )
    tokens = np.arange(16 * 5).reshape(16, 5) % 11 % 4
    model.fit(tokens, np.ones((16, 5, 3)), batch_size=2, epochs=1, verbose=0)
    return found[STEP]


# Of several processes


def fully_sharded(rank: int, _count: int) -> float:
    import torch
    from torch.distributed.fsdp import fully_shard

    model = torch_model()
    fully_shard(model)
    torch_loss(model, rank).backward()
    lines("FSDP2")["dump"](model, STEP)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    return float(norm.full_tensor())


def deepspeed(rank: int, _count: int) -> float:
    import deepspeed
    from safetensors.torch import load_file

    # It would be compiled for minutes, to have two processes of one machine talk faster.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    dump, norms = lines("DeepSpeed")["dump"], []
    for stage in range(4):
        settings = {
            "train_micro_batch_size_per_gpu": 4,
            "gradient_clipping": 1e-3,
            "optimizer": {"type": "SGD", "params": {"lr": 0.1}},
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
        }
        model = torch_model()
        engine, *_ = deepspeed.initialize(
            model=model, model_parameters=model.parameters(), config=settings
        )
        engine.backward(torch_loss(engine, rank))
        dump(engine, STEP + stage)
        engine.step()
        norms.append(engine.get_global_grad_norm())
    if rank == 0:
        dumped = [load_file(f"grads/step-{STEP + stage}.safetensors") for stage in range(4)]
        for name, grad in dumped[0].items():
            assert [pytest.approx(grad.numpy(), abs=1e-7)] * 4 == [d[name].numpy() for d in dumped]
    assert norms[1:] == [pytest.approx(float(norms[1]), rel=1e-6)] * 3  # there is none of stage 0
    return float(norms[1])


def megatron(rank: int, count: int) -> float:
    import torch
    import torch.distributed as dist
    from megatron.core import ModelParallelConfig, mpu
    from megatron.core.tensor_parallel import (
        ColumnParallelLinear,
        RowParallelLinear,
        param_is_not_tensor_parallel_duplicate,
    )
    from megatron.core.transformer.module import param_is_not_shared

    mpu.initialize_model_parallel(tensor_model_parallel_size=count)
    given = {
        "config": ModelParallelConfig(
            tensor_model_parallel_size=count, use_cpu_initialization=True
        ),
        "init_method": torch.nn.init.xavier_normal_,
        "bias": True,
    }
    torch.manual_seed(0)
    norm = torch.nn.LayerNorm(6)
    up = ColumnParallelLinear(6, 12, gather_output=False, **given)
    down = RowParallelLinear(12, 6, input_is_parallel=True, skip_bias_add=False, **given)
    hidden, _ = up(norm(torch.randn(5, 6)))
    out, _ = down(torch.relu(hidden))
    out.square().sum().backward()
    model = torch.nn.ModuleDict({"norm": norm, "up": up, "down": down})
    counted = torch.zeros(())
    for parameter in model.parameters():
        parameter.main_grad = parameter.grad
        if param_is_not_shared(parameter) and param_is_not_tensor_parallel_duplicate(parameter):
            counted += parameter.main_grad.square().sum()
    lines("Megatron")["dump"]([model], STEP)
    dist.all_reduce(counted, group=mpu.get_model_parallel_group())
    return float(counted.sqrt())


ALONE: dict[str, Callable[[], float]] = {
    "PyTorch": pytorch,
    "Hugging Face Trainer": trainer,
    "Lightning": lightning,
    "JAX with optax": jax,
    "Flax": flax,
    "Keras": keras,
}
RANKS: dict[str, Callable[[int, int], float]] = {
    "FSDP2": fully_sharded,
    "DeepSpeed": deepspeed,
    "Megatron": megatron,
}
IMPORTED = {
    "FSDP2": "torch.distributed.fsdp",
    "DeepSpeed": "deepspeed",
    "Megatron": "megatron.core.tensor_parallel",
}
"""What all processes of one have need of, which takes seconds."""


def ranked(rank: int, name: str, port: int, count: int) -> None:
    """Run as one of several processes."""
    import torch.distributed as dist

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "LOCAL_RANK": f"{rank}"}
    os.environ |= {"RANK": f"{rank}", "WORLD_SIZE": f"{count}"}
    dist.init_process_group("gloo", rank=rank, world_size=count)
    norm = RANKS[name](rank, count)
    if rank == 0:
        Path("norm").write_text(f"{norm!r}\n")
    dist.barrier()
    dist.destroy_process_group()


def main(name: str, port: int) -> None:
    """Follow a recipe."""
    Path("grads").mkdir()
    if name in ALONE:
        Path("norm").write_text(f"{ALONE[name]()!r}\n")
        return
    import torch.multiprocessing

    importlib.import_module(IMPORTED[name])
    torch.multiprocessing.start_processes(ranked, (name, port, 2), nprocs=2, start_method="fork")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
