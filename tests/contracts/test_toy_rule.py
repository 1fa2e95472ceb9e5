"""A rule that stands nowhere else: it goes through the contract, the command line and the help."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import gradclip_cli
from gradclip_cli.options import Option, number
from gradclip_cli.rules import registry
from gradclip_cli.rules.by_global_norm import clip_by_norm
from gradclip_cli.rules.rule import Rule
from tests.contracts.rules import RuleContract
from tests.dumps import floats, write_safetensors
from tests.running import run_here

if TYPE_CHECKING:
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor

# The recipe: a file of its own in rules/ …

CLIP_LAYER = Option(
    "clip_layer",
    "The limit for the norm of each layer: of tensors with one first name.",
    metavar="C",
    parse=number("clip_layer", "1.0"),
    group="Rule",
)


@dataclass(frozen=True, slots=True)
class ClipByLayer(Rule):
    """Each layer by its joint norm."""

    clip_layer: float

    word: ClassVar[str] = "layer"
    keys: ClassVar[tuple[str, ...]] = ("clip_layer",)
    told: ClassVar[str] = "each layer by its own norm"
    example: ClassVar[str] = "--clip-layer C"
    limit: ClassVar[Option] = CLIP_LAYER

    @property
    def limits(self) -> float:
        """The limit for each norm."""
        return self.clip_layer

    def cells(self, tensors: Sequence["Tensor"]) -> Sequence[str]:
        """Give the layer of each tensor: tensors of one cell have a joint norm."""
        return [(tensor.name or "").partition(".")[0] for tensor in tensors]

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give each layer's coefficient."""
        return clip_by_norm(norms, self.clip_layer, eps)

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"clip_layer": self.clip_layer}


# … and a line in the registry.
LINE = "tests.contracts.test_toy_rule:ClipByLayer"
# End of the recipe.


@pytest.fixture(autouse=True)
def _listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RULES", [*registry.RULES, LINE])


class TestClipByLayer(RuleContract):
    """The contract of rules."""

    rule = ClipByLayer(1.0)
    chosen_by = (("clip_layer", 1.0),)
    harmless = ClipByLayer(1e9)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    tensors = {
        "a.w": floats("F32", (1,), [3]),
        "a.b": floats("F32", (1,), [4]),
        "b.w": floats("F32", (1,), [0.5]),
    }
    return write_safetensors(tmp_path / "dump.safetensors", tensors)


def test_the_command_clips_by_it(
    dump: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    given = ("apply", dump, "--clip-layer", "1", "-o", out, "--format", "table")
    said = run_here(capfd, *given)
    assert (said.status, said.err) == (0, "")
    assert "rule         each layer by its own norm\n" in said.out
    assert "clipped      2 of 3 tensors\n" in said.out
    norms = {row.name: row.norm for row in gradclip_cli.inspect(out).rows}
    assert norms == {"a.w": pytest.approx(0.6), "a.b": pytest.approx(0.8), "b.w": 0.5}


def test_json_says_it_beside_the_other_rules_keys(
    dump: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, "apply", dump, "--clip-layer", "1", "--dry-run", "--json")
    assert '"rule": "layer", "per_group": null' in said.out
    assert '"clip_layer": 1.0' in said.out


def test_the_help_lists_it_among_the_rules(capfd: pytest.CaptureFixture[str]) -> None:
    rules = run_here(capfd, "apply", "--help").out.split("Rule:")[1].split("\n\n")[0]
    assert "--clip-layer C" in rules


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("--clip-layer 1 --clip-norm 1", "--clip-layer: cannot go with --clip-norm"),
        ("--clip-layer 1 --like torch", "--like: cannot go with --clip-layer"),
        ("--clip-layer 1 --use-norm 3", "--use-norm: cannot go with --clip-layer"),
        ("--clip-layer x", "--clip-layer: 'x' is not a number"),
        ("--clip-layer 0", "--clip-layer: 0.0 is not a limit for a norm"),
        ("", "no rule is named"),
    ],
)
def test_what_it_cannot_go_with_is_known_without_a_word_more(
    options: str, problem: str, dump: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, "apply", dump, "--dry-run", *options.split())
    assert said.status == 2
    assert said.err.startswith(f"gradclip: {problem}")
    assert "--clip-layer" in said.err


def test_python_takes_its_option_and_lists_it(dump: Path) -> None:
    from gradclip_cli.commands.apply import signature

    assert gradclip_cli.apply(dump, clip_layer=1.0, dry_run=True).ruling is not None
    assert signature().parameters["clip_layer"].default is None
