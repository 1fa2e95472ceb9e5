"""Python finds its way: names, results that print, paths as one likes, errors about parameters."""

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError
from gradclip_cli.results.columns import Result
from tests.steps import NAN, of_norms, write_steps

FUNCTIONS = ("apply", "check", "diff", "inspect", "suggest", "trend")


def test_the_public_names_are_what_dir_says_and_the_docstring_lists() -> None:
    assert dir(gradclip_cli) == sorted(gradclip_cli.__all__)
    text = gradclip_cli.__doc__ or ""
    for name in gradclip_cli.__all__:
        assert f"`{name}" in text or name == "__version__", name
    for name in FUNCTIONS:
        function = getattr(gradclip_cli, name)
        assert function is getattr(gradclip_cli, name)
        assert function.__doc__
        kinds = {one.kind for one in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, "every parameter has a name"


def test_paths_are_named_one_by_one_or_as_one_list(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *({"w": [float(n)]} for n in range(4)))
    for function in (gradclip_cli.trend, gradclip_cli.check):
        one_by_one, as_list = function(*paths), function(paths)
        as_paths = function([Path(path) for path in paths])
        assert repr(one_by_one) == repr(as_list) == repr(as_paths)
    named = [{f"w{n}": [float(n)]} for n in range(2)]
    some = write_steps(tmp_path / "named", *named)
    assert gradclip_cli.inspect(some) == gradclip_cli.inspect(*some)
    rehearsed = gradclip_cli.apply(tuple(some), clip_norm=0.5, dry_run=True)
    assert rehearsed == gradclip_cli.apply(*some, clip_norm=0.5, dry_run=True)


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Result]:
    many = {f"layers.{n}.w": [1.0 + n] for n in range(300)}
    a, b = write_steps(tmp_path, many, {**many, "layers.7.w": [NAN]})
    run = of_norms(tmp_path / "run", *[1.0] * 60, 900.0)
    return {
        "inspect": gradclip_cli.inspect(b),
        "apply": gradclip_cli.apply(a, clip_norm=1.0, dry_run=True),
        "diff": gradclip_cli.diff(a, b),
        "trend": run,
        "suggest": gradclip_cli.suggest(run),
        "check": gradclip_cli.check(a, b),
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_result_has_two_lines_and_prints_a_screen(results: dict[str, Result], name: str) -> None:
    result = results[name]
    verdict, origin = repr(result).splitlines()
    assert verdict == result.says
    assert origin == result.origin
    text = str(result)
    lines = text.splitlines()
    assert len(lines) <= (24 if name not in ("trend", "suggest") else 60)
    assert name == "check" or all(len(line) <= 80 for line in lines)
    assert "\x1b" not in text
    assert repr(copy.copy(result)) == repr(result)


def refused(call: Callable[[], object]) -> GradclipError:
    with pytest.raises(GradclipError) as caught:
        call()
    return caught.value


def test_errors_speak_of_parameters_and_hold_their_hint(tmp_path: Path) -> None:
    bad, good = write_steps(tmp_path, {"w": [NAN]}, {"w": [3.0]})
    error = refused(lambda: gradclip_cli.apply(good, clip_norm=0.0))
    assert str(error) == (
        "clip_norm: 0.0 is not a limit for a norm\n"
        "hint: give a finite number above 0, for example 1.0"
    )
    error = refused(lambda: gradclip_cli.apply(good, clip_norm=1))
    assert "--" not in str(error)
    assert "output" in str(error)
    assert "in_place" in error.hint
    error = refused(lambda: gradclip_cli.apply(bad, clip_norm=1, output=tmp_path / "out"))
    assert isinstance(error, RefusedError)
    assert "'w': 1 NaN, first at [0]" in str(error)
    assert "--" not in str(error)
    error = refused(lambda: gradclip_cli.inspect(good, include=["x"]))
    assert error.subject == "include"
    assert "gradclip_cli.trend" in str(refused(lambda: gradclip_cli.inspect(bad, good)))
    again = pickle.loads(pickle.dumps(refused(lambda: gradclip_cli.apply(good, clip_norm=0.0))))
    assert str(again) == str(refused(lambda: gradclip_cli.apply(good, clip_norm=0.0)))
