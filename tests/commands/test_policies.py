"""What `--nonfinite` did to values is said: how many, in which tensors, and what came of it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.dumps import floats, write_safetensors
from tests.running import Run, gradclip, on_terminal

FIVE = [3.0, 4.0]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a dump of five tensors, of which four hold what is not finite: five values of ten."""
    spoilt = {"a": [math.nan, 1.0], "b": [math.inf, 2.0], "c": [-math.inf, math.inf]}
    tensors = {**spoilt, "d": [math.nan, 0.5], "e": FIVE}
    return write_safetensors(
        tmp_path / "in.safetensors",
        {name: floats("F32", (2,), values) for name, values in tensors.items()},
    )


def lines(*arguments: str, cwd: Path, columns: int = 80) -> dict[str, str]:
    """Give what the report on a terminal says under each of its titles."""
    told = on_terminal("apply", "in.safetensors", *arguments, cwd=cwd, columns=columns).lines
    found: dict[str, str] = {}
    title = ""
    for line in told[: told.index("")] if "" in told else told:
        named, _, said = line.partition("  ")
        title = named or title
        found[title] = f"{found.get(title, '')} {said.strip()}".strip()
    return found


@pytest.mark.parametrize(
    ("policy", "done", "would_be"),
    [
        ("zero", "5 values in 4 tensors set to 0", "5 values in 4 tensors would be set to 0"),
        (
            "skip",
            "5 values in 4 tensors, which are left as they are",
            "5 values in 4 tensors, which would be left as they are",
        ),
    ],
)
@pytest.mark.parametrize("rule", [("--clip-norm", "2.5"), ("--clip-value", "0.5")])
def test_a_report_says_what_became_of_values_and_names_the_first_tensors(
    policy: str, done: str, would_be: str, rule: tuple[str, ...], source: Path
) -> None:
    wish = (*rule, "--nonfinite", policy)
    dry = lines(*wish, "--dry-run", cwd=source.parent)
    assert dry["not finite"] == f"{would_be}: a, b, c and 1 more"
    assert lines(*wish, "-o", "out.safetensors", cwd=source.parent)["not finite"] == (
        f"{done}: a, b, c and 1 more"
    )


def test_it_is_said_where_nothing_is_clipped_too(source: Path) -> None:
    said = lines("--clip-norm", "100", "--nonfinite", "zero", "--in-place", cwd=source.parent)
    assert (said["clipped"], said["not finite"]) == (
        "no",
        "5 values in 4 tensors set to 0: a, b, c and 1 more",
    )


def test_one_tensor_is_left_as_it_is(source: Path) -> None:
    wish = ("--clip-norm", "2.5", "--nonfinite", "skip", "--include", "[ae]", "--in-place")
    assert lines(*wish, cwd=source.parent)["not finite"] == (
        "1 value in 1 tensor, which is left as it is: a"
    )


def test_what_is_passed_on_to_all_says_why(source: Path) -> None:
    wish = ("--clip-norm", "2.5", "--nonfinite", "propagate")
    dry = lines(*wish, "--dry-run", cwd=source.parent)
    assert dry["coefficient"] == "nan  the norm is nan, so every value would become nan"
    assert dry["not finite"] == (
        "5 values in 4 tensors would be passed on: a, b, c and 1 more; afterwards 10 of 10 values"
    )
    done = lines(*wish, "-o", "out.safetensors", cwd=source.parent)
    assert done["coefficient"] == "nan  the norm is nan, so every value becomes nan"
    some = (*wish, "--include", "[bce]", "--in-place")
    done = lines(*some, cwd=source.parent)
    assert done["coefficient"] == "0.0  the norm is inf, so finite values become 0, infinities nan"
    assert done["not finite"] == "3 values in 2 tensors passed on: b, c"
    assert done["became zero"] == "3 values"


def test_a_limit_for_each_tensor_says_where_a_coefficient_is_nan(source: Path) -> None:
    wish = ("--clip-norm", "2.5", "--per-tensor", "--nonfinite", "propagate")
    done = lines(*wish, "--in-place", cwd=source.parent, columns=200)
    assert done["coefficient"] == (
        "nan where the norm is nan: there every value becomes nan  "
        "0 where the norm is inf: there finite values become 0, infinities nan"
    )
    assert done["not finite"].endswith("; afterwards 7 of 10 values")


def test_a_finite_report_says_none_of_it(source: Path) -> None:
    for rule in (("--clip-norm", "2.5"), ("--clip-norm", "2.5", "--per-tensor")):
        wish = (*rule, "--include", "e", "--nonfinite", "propagate", "--dry-run")
        said = lines(*wish, cwd=source.parent)
        assert "not finite" not in said
        assert said.get("coefficient") in (None, "0.5")


def test_a_framework_is_left_to_itself(source: Path) -> None:
    done = lines("--clip-norm", "2.5", "--like", "torch", "--in-place", cwd=source.parent)
    assert done["not finite"] == (
        "5 values in 4 tensors left to torch: a, b, c and 1 more; afterwards 10 of 10 values"
    )
    assert done["coefficient"] == "nan  the norm is nan, so every value becomes nan"


@pytest.mark.parametrize(
    ("policy", "tensors", "after", "says"),
    [
        ("zero", 4, 0, "not finite: 5 values in 4 tensors set to 0"),
        ("skip", 4, 5, "not finite: 5 values in 4 tensors, which are left as they are"),
        (
            "propagate",
            4,
            10,
            "not finite: 5 values in 4 tensors passed on; afterwards 10 of 10 values",
        ),
    ],
)
def test_json_has_the_policy_and_what_came_of_it(
    policy: str, tensors: int, after: int, says: str, source: Path, run: Run
) -> None:
    wish = (source, "--clip-norm", "2.5", "--nonfinite", policy, "--dry-run", "--json")
    found: dict[str, Any] = json.loads(run("apply", *wish).out)
    assert found["nonfinite"] == 5
    assert found["nonfinite_policy"] == policy
    assert (found["nonfinite_tensors"], found["nonfinite_after"]) == (tensors, after)
    assert says in found["says"].split("; in a dry run")[0]
    found = json.loads(run("apply", *wish, "--include", "e").out)
    assert (found["nonfinite_tensors"], found["nonfinite_after"]) == (0, 0)
    assert "not finite" not in found["says"]


def test_a_known_norm_passes_on_no_more_than_there_was(source: Path) -> None:
    wish = ("--clip-norm", "2.5", "--use-norm", "5", "--nonfinite", "propagate", "--json")
    done = gradclip("apply", "in.safetensors", *wish, "-o", "out.safetensors", cwd=source.parent)
    assert json.loads(done.stdout)["nonfinite_after"] == 5
