"""Files that torch has written: what is in them, and what torch says of them where it is installed.

Those of `tests/formats/pt` are made by the script beside them.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import gradclip_cli
from tests.formats.pt.make import values
from tests.frameworks import installed

HERE = Path(__file__).parent / "pt"
SAME = ("archive", "protocol4", "stream", "no_crc32")
NORMS: dict[str, float] = json.loads((HERE / "norms.json").read_text())
SHARED = {"tied"}
UNTYPED = re.compile("float8.*|uint(16|32|64)")


@pytest.mark.parametrize("name", SAME)
def test_norms_are_those_of_the_values(name: str) -> None:
    report = gradclip_cli.inspect(HERE / f"{name}.pt")
    found = {row.name: row.norm for row in report.tensors if row.measured}
    assert found == {key: pytest.approx(norm, rel=1e-14) for key, norm in NORMS.items()}
    assert "1 tensor not counted, the same values under another name: tied" in report.notes
    assert gradclip_cli.check(HERE / f"{name}.pt").sound


def test_a_checkpoint_counts_its_model_and_names_the_rest() -> None:
    report = gradclip_cli.inspect(HERE / "checkpoint.pt")
    assert {row.name for row in report.tensors} == {"model.weight", "model.bias"}
    assert any("state of an optimizer: optimizer.state.0.step" in one for one in report.notes)


# Beside torch


def flat(values: Any, path: str = "") -> dict[str, Any]:
    """Give the tensors of nested containers by dotted names."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    found: dict[str, Any] = {}
    for key, value in pairs:
        if isinstance(value, dict | list | tuple):
            found |= flat(value, f"{path}{key}.")
        elif hasattr(value, "stride"):
            found[f"{path}{key}"] = value
    return found


def norm(tensor: Any) -> float:
    """Give what torch says in float64."""
    torch = installed("torch")
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor.detach().to(wide)))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("new", [True, False], ids=["archive", "stream"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_torch_writes_is_read_clipped_and_loaded(
    protocol: int, new: bool, tmp_path: Path
) -> None:
    torch = installed("torch")
    some = values(torch)
    if not new:  # torch writes them into a stream, and cannot read it
        some = {name: one for name, one in some.items() if not UNTYPED.fullmatch(name)}
    path, out = tmp_path / "x.pt", tmp_path / "y.pt"
    torch.save(some, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    tensors = {name: one for name, one in flat(some).items() if name not in SHARED}
    counted = {
        name: one for name, one in tensors.items() if one.is_floating_point() or one.is_complex()
    }
    report = gradclip_cli.inspect(path)
    found = {row.name: row.norm for row in report.tensors if row.measured}
    assert found == {name: pytest.approx(norm(one), rel=1e-12) for name, one in counted.items()}
    done = gradclip_cli.apply(path, clip_norm=report.global_norm / 3, output=out)
    assert done.clipped is not None
    # Torch itself reads the frames of protocol 4 only where it may run what it reads.
    loaded = flat(torch.load(out, weights_only=protocol == 2))
    assert loaded.keys() == flat(some).keys()
    for name, one in tensors.items():
        assert loaded[name].stride() == one.stride()
        if name not in counted:
            assert torch.equal(loaded[name], one)
            continue
        wide = one.detach().to(torch.complex128 if one.is_complex() else torch.float64)
        expected = wide * done.clipped.coefficient
        if one.dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128):
            assert torch.equal(loaded[name], expected.to(one.dtype)), name
        else:
            assert norm(loaded[name]) == pytest.approx(norm(expected), rel=0.1, abs=1e-2), name


def test_an_exploding_step_of_a_loop(tmp_path: Path) -> None:
    torch = installed("torch")
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 1))
    (model(torch.ones(2, 5)).sum() * 1e3).backward()
    total = float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    torch.save({name: p.grad for name, p in model.named_parameters()}, tmp_path / "g.pt")
    report = gradclip_cli.apply(tmp_path / "g.pt", clip_norm=1.0, output=tmp_path / "c.pt")
    assert report.clipped is not None
    assert report.clipped.norm_before == pytest.approx(total, rel=1e-6)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    clipped = torch.load(tmp_path / "c.pt", weights_only=True)
    for name, parameter in model.named_parameters():
        assert torch.allclose(clipped[name], parameter.grad, rtol=1e-5)
