"""From a loop to a dump: the README's lines, and the hints that convert, with the real libraries.

PyTorch, JAX and Keras are not installed for the plain tests; `.ci/run` has them.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradclip_cli
from tests.frameworks import installed, installed_jax
from tests.pages import README
from tests.running import real

LINES = re.findall(r"^# (PyTorch|JAX|Keras): .*\n((?:.+\n\n?){4})", README.read_text(), re.M)


def dumped(framework: str, folder: Path, **given: Any) -> dict[str, float]:
    """Run the README's lines for a framework; give the norms that gradclip finds."""
    text = dict(LINES)[framework].replace("step-{step}", f"{folder}/step-{{step}}")
    exec(text, {"step": 7, **given})
    report = gradclip_cli.inspect(folder / "step-7.safetensors")
    return {row.name or "": row.norm or 0.0 for row in report.rows}


def test_there_are_four_lines_for_each_in_the_first_half_of_the_readme() -> None:
    assert [name for name, _ in LINES] == ["PyTorch", "JAX", "Keras"]
    text = README.read_text()
    (block,) = re.findall(r"```python\n(.*?)```", text[: len(text) // 2], re.S)
    assert "".join(f"{lines.strip()}\n" for _, lines in LINES) == re.sub(
        r"^# .*\n|(?<=\n)\n(?=# )", "", block, flags=re.M
    ), "and no line more"


def test_pytorch(tmp_path: Path) -> None:
    torch: Any = installed("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    model.to(torch.bfloat16)
    model[1].bias.requires_grad_(False)
    loss = model(torch.ones(4, 3, dtype=torch.bfloat16)).square().sum()
    loss.backward()
    model[0].weight.grad = model[0].weight.grad.T.contiguous().T  # as some kernels leave it
    found = dumped("PyTorch", tmp_path, model=model)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found == {
        name: pytest.approx(float(grad.double().norm())) for name, grad in grads.items()
    }
    assert len(found) == 3


def test_jax(tmp_path: Path) -> None:
    jax = installed_jax()
    params = {"dense": {"kernel": jax.numpy.ones((3, 2), "bfloat16"), "scale": 2.0}}

    def loss(params: Any) -> Any:
        return (params["dense"]["kernel"].astype("float32") * params["dense"]["scale"]).sum() ** 2

    gradients = jax.grad(loss)(params)
    found = dumped("JAX", tmp_path, gradients=gradients)
    assert found == {
        f"['dense']['{name}']": pytest.approx(float(np.linalg.norm(np.array(leaf, "f8"))))
        for name, leaf in gradients["dense"].items()
    }


def test_keras(tmp_path: Path) -> None:
    tensorflow: Any = installed("tensorflow")
    keras: Any = installed("keras")
    model = keras.Sequential([keras.layers.Embedding(5, 3), keras.layers.Dense(2)])
    with tensorflow.GradientTape() as tape:
        loss = tensorflow.reduce_sum(model(np.array([[1, 2]])) ** 2)
    gradients = tape.gradient(loss, model.trainable_variables)
    found = dumped("Keras", tmp_path, model=model, gradients=gradients)
    paths = [variable.path for variable in model.trainable_variables]
    norms = [float(tensorflow.norm(tensorflow.convert_to_tensor(one))) for one in gradients]
    assert found == {path: pytest.approx(norm) for path, norm in zip(paths, norms, strict=True)}


# Archives


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_is_read_as_it_is(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "it's.npz"
    save(path, a=np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]), b=np.float32(12))
    report = gradclip_cli.inspect(path)
    assert {row.name: row.shape for row in report.rows} == {"a": (2, 2), "b": ()}
    assert {row.name: row.max_abs_index for row in report.rows} == {"a": (1, 1), "b": ()}


def test_an_end_within_the_comment_hides_no_array(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(3))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\5\6" + bytes(18)
    said = real("inspect", path)
    assert said.status == 2
    assert "its directory does not list the member that it begins with" in said.err


def test_a_pt_is_read_as_it_is(tmp_path: Path) -> None:
    torch: Any = installed("torch")
    path = tmp_path / "grads.pt"
    tied = torch.arange(6.0).reshape(2, 3)
    torch.save({"a": tied.T, "b": tied}, path)
    report = gradclip_cli.inspect(path)
    assert {row.name: row.max_abs_index for row in report.rows} == {"a": (2, 1), "b": (1, 2)}


def test_another_archive_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(26) + b"readme.txt")
    said = real("inspect", path)
    assert said.status == 2
    assert said.err.endswith("a ZIP archive\nhint: unpack it first: unzip FILE -d FOLDER\n")
