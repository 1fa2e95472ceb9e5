"""An output format that stands nowhere else: every command writes it, and the help names it."""

from pathlib import Path
from typing import Any

import pytest

from gradclip_cli.render import registry
from gradclip_cli.render.renderer import Renderer
from gradclip_cli.tensors.names import escape
from tests.contracts.renderers import RendererContract
from tests.running import run_here

# The recipe: a file of its own in render/ …


class Names(Renderer):
    """The names of rows, a line each: the least that a renderer can be."""

    def begin(self, labels: Any = ()) -> str:
        """Give what comes first."""
        return f"{self.sheet.name}\n"

    def row(self, kind: str, row: Any) -> str:
        """Give a row of a kind, its value of the first column."""
        return f"{kind} {escape(str(self.sheet.values(row)[0]))}\n"


# … and a line in the registry.
NAME, LINE = "names", "tests.contracts.test_toy_output:Names"
# End of the recipe.

SAMPLE = Path(__file__).parents[2] / "sample_grads"


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.RENDERERS, NAME, LINE)


class TestNames(RendererContract):
    """The contract of output formats."""

    form = NAME


@pytest.mark.parametrize(
    "arguments",
    [
        "inspect {0}",
        "apply {0} --clip-norm 5 --dry-run",
        "diff {0} {0}",
        "trend {0} {1}",
        "trend {0} {1} --suggest",
    ],
)
def test_every_command_writes_it(arguments: str, capfd: pytest.CaptureFixture[str]) -> None:
    steps = [SAMPLE / f"step-{number}.safetensors" for number in (19, 20)]
    said = run_here(capfd, *arguments.format(*steps).split(), "--format", NAME)
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines()[1].split()[0] in ("tensor", "step", "percentile")


def test_a_report_is_saved_in_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, sample = tmp_path / "report", SAMPLE / "step-20.safetensors"
    given = ("apply", sample, "--clip-norm", "5", "--dry-run", "--report", path)
    assert run_here(capfd, *given, "--format", NAME).status == 0
    assert path.read_text().startswith("report\ntensor rnn.weight_hh_l0\n")


def test_the_help_and_the_complaint_name_it(capfd: pytest.CaptureFixture[str]) -> None:
    said = run_here(capfd, "inspect", "--help", COLUMNS="100").out
    assert " or names; table on a terminal" in said
    assert "'names'" in run_here(capfd, "inspect", "--format", "xml").err
