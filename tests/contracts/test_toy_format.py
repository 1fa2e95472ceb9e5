"""A format that stands nowhere else: it goes through the contract and through all commands."""

import dataclasses
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.files.source import Source
from gradclip_cli.files.streams import Front
from gradclip_cli.formats import registry
from gradclip_cli.formats.registry import Format
from gradclip_cli.tensors.dtypes import numeric
from gradclip_cli.tensors.dump import Tensor
from tests.contracts.formats import FormatContract
from tests.dumps import floats
from tests.running import run_here

# The recipe: a file of its own in formats/ …


def read(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
    """Give the tensor: behind eight bytes there are as many float32 as they say."""
    beginning = front.read(8)
    if not recognised(beginning):  # so it is of a file that has no more than the suffix
        raise GradclipError(source.label, "does not begin with RAW:", "is it another kind of file?")
    count = int.from_bytes(beginning[4:], "little")
    return (Tensor(name, numeric("f", 32), (count,), source, 8, count * 4),)


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is one of these."""
    return head.startswith(b"RAW:")


RAW32 = Format("raw32", (".raw32",), recognised, read, is_named_by_file=True)

# … and a line in the registry.
LINE = "tests.contracts.test_toy_format:RAW32"
# End of the recipe.


def raw32(values: list[float]) -> bytes:
    """Give a file of the toy format."""
    return b"RAW:" + len(values).to_bytes(4, "little") + floats("F32", (len(values),), values)[2]


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FORMATS", [*registry.FORMATS, LINE])


def test_the_extra_that_brings_its_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needy(front: Front, source: Source, name: str | None) -> tuple[Tensor, ...]:
        import no_such_library  # type: ignore[import-not-found] # noqa: F401

        return read(front, source, name)

    needing = dataclasses.replace(RAW32, read=needy, extra="raw")
    monkeypatch.setattr(registry, "formats", lambda: (needing,))
    path = tmp_path / "a.raw32"
    path.write_bytes(raw32([1.0]))
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect(path)
    assert caught.value.problem.startswith("a raw32 file, which needs no_such_library to be read")
    assert caught.value.hint == "install it: pip install 'gradclip-cli[raw]'"


class TestRaw32(FormatContract):
    """The contract of formats."""

    form = RAW32
    sample = staticmethod(raw32)

    def test_a_file_that_is_cut_short_is_refused_in_words(self, path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:12])
        with pytest.raises(GradclipError, match="truncated: 8 of 20 bytes are missing"):
            gradclip_cli.inspect(path)


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect {0}",
        "inspect {folder} --json",
        "apply {0} --clip-norm 1 -o {folder}/out.raw32",
        "diff {0} {1} --rtol 1",
        "trend {0} {1}",
        "check {0}",
    ],
)
def test_every_command_takes_it(
    arguments: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / f"step-{number}.raw32" for number in (1, 2)]
    for path in paths:
        path.write_bytes(raw32([3.0, 4.0]))
    given = arguments.format(*paths, folder=tmp_path).split()
    if given[1] == str(tmp_path):
        given[1] = str(paths[0])
    said = run_here(capfd, *given)
    assert (said.status, said.err) == (0, ""), said
