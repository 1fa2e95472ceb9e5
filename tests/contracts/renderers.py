"""What every output format must satisfy, for each kind of result."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradclip_cli
from gradclip_cli.render.registry import renderer
from gradclip_cli.results.columns import Result
from tests.dumps import floats, write_safetensors
from tests.written import plain

HOSTILE = "a\x1b[31m\t\r\n=b\u202ec"  # a colour, separators, a formula, a turned direction
SAMPLES = Path(__file__).parents[2] / "sample_grads"


def _dump(path: Path, scale: float = 1.0) -> Path:
    return write_safetensors(
        path,
        {
            HOSTILE: floats("F32", (2,), [3 * scale, 4 * scale]),
            "b": floats("F32", (2,), [float("nan"), float("-inf")]),
            "steps": ("I64", (1,), bytes(8)),
            "empty": ("F32", (0,), b""),
        },
    )


def _apply(path: Path) -> Result:
    return gradclip_cli.apply(path, clip_norm=1.0, nonfinite="zero", dry_run=True)


def _run() -> Result:
    return gradclip_cli.trend(*sorted(SAMPLES.glob("step-??.safetensors")))


RESULTS: dict[str, Callable[[Path], Result]] = {
    "inspect": lambda folder: gradclip_cli.inspect(_dump(folder / "a.safetensors")),
    "what if": lambda folder: gradclip_cli.inspect(
        _dump(folder / "a.safetensors"), include=["a*"], clip_norm=[1.0, 5.0]
    ),
    "apply": lambda folder: _apply(_dump(folder / "a.safetensors")),
    "diff": lambda folder: gradclip_cli.diff(
        _dump(folder / "a.safetensors"), _dump(folder / "b.safetensors", 2.0)
    ),
    "trend": lambda _: _run(),
    "suggest": lambda _: gradclip_cli.suggest(_run()),  # type: ignore[arg-type]
    "explain": lambda _: gradclip_cli.explain(SAMPLES / "step-19.safetensors", logged="16075600"),
    "check": lambda folder: gradclip_cli.check(
        _dump(folder / "a.safetensors"), folder / "none.npy"
    ),
}


def _name_of(row: Any) -> str | None:
    """Give what a person finds a row by: of a tensor, a step or a file."""
    if not isinstance(row, dict):
        return next(
            (
                str(getattr(row, key))
                for key in ("name", "step", "label", "says")
                if hasattr(row, key)
            ),
            None,
        )
    return None


class RendererContract:
    """Inherit, and give the name of the format."""

    form: str

    @pytest.fixture(params=RESULTS, ids=str)
    def result(self, request: pytest.FixtureRequest, tmp_path: Path) -> Result:
        return RESULTS[request.param](tmp_path)

    def test_it_writes_lines_of_text(self, result: Result) -> None:
        text = plain(result, self.form)
        assert text.endswith("\n")
        assert text.strip()

    def test_nothing_in_it_drives_a_terminal(self, result: Result) -> None:
        text = plain(result, self.form).replace("\r\n", "\n")
        for line in text.split("\n"):
            assert all(part.isprintable() or part == "\t" for part in line)

    def test_writing_it_again_gives_the_same(self, result: Result) -> None:
        assert plain(result, self.form) == plain(result, self.form)

    def test_rows_told_one_by_one_are_the_same_as_all_at_once(self, result: Result) -> None:
        made = renderer(self.form, result.sheet, None, everything=True)
        parts = [made.begin(result.labels()), *(made.row(*told) for told in result.told())]
        assert "".join([*parts, *made.end(result)]) == plain(result, self.form)

    def test_thousands_of_rows_are_each_written_as_if_alone(self, tmp_path: Path) -> None:
        tensors = {f"t{at}": floats("F32", (2,), [at, 1]) for at in range(2100)}
        tensors |= {"bad": floats("F32", (1,), [float("nan")]), "steps": ("I64", (1,), bytes(8))}
        result = gradclip_cli.inspect(write_safetensors(tmp_path / "many.safetensors", tensors))
        made = renderer(self.form, result.sheet, None, everything=True)
        parts = [made.begin(), *(made.row(*told) for told in result.told())]
        assert "".join([*parts, *made.end(result)]) == plain(result, self.form)

    def test_each_name_is_there(self, result: Result) -> None:
        text = plain(result, self.form)
        if self.form == "table" and getattr(result, "clipped", None):
            return  # a person is told what was done to all tensors together
        rows = [row for _, row in result.told()]
        if self.form == "table":  # what the user's patterns leave out is counted there
            rows = [row for row in rows if not getattr(row, "excluded", False)]
        shown = [name for row in rows if (name := _name_of(row))]
        assert shown or result.sheet.name == "suggestion"
        for name in shown:
            assert all(word in text for word in re.findall("[a-z0-9]+", name))

    def test_a_result_of_nothing_is_written_too(self, tmp_path: Path) -> None:
        path = write_safetensors(tmp_path / "nothing.safetensors", {})
        assert plain(gradclip_cli.inspect(path), self.form).endswith("\n")
