"""Numbers that torch itself gives are explained: its norm of a large tensor, its bfloat16."""

from pathlib import Path

import pytest

import gradclip_cli

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [1 << 20, 1 << 25])
def test_what_float32_loses_on_a_cpu_is_within_the_bounds(
    size: int, threads: int, here: Path
) -> None:
    torch.manual_seed(size)
    values = torch.randn(size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        norm = torch.linalg.vector_norm(values).item()
    finally:
        torch.set_num_threads(before)
    torch.save({"w": values}, "g.pt")
    found = gradclip_cli.explain("g.pt", logged=repr(norm))
    assert found.explained, found
    assert found.fits[0].hypotheses in ((), ("float32",))
    assert (found.fits[0].hypotheses == ("float32",)) == (abs(norm / found.norm - 1) > 2.0**-22)


def test_norms_in_bfloat16_are_named_as_such(here: Path) -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(50, 40).to(torch.bfloat16) for _ in range(7)]
    parameters = [torch.nn.Parameter(torch.zeros_like(one)) for one in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1e9).item()
    torch.save({f"p{at}": one for at, one in enumerate(gradients)}, "g.pt")
    found = gradclip_cli.explain("g.pt", logged=repr(norm))
    assert found.explained, found
    assert any("bfloat16" in fit.says for fit in found.fits)
