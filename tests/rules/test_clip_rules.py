"""Every rule of clipping through files: what its source expects, and what it promises."""

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError
from gradclip_cli.options import flag_of
from gradclip_cli.results.figures import Clipped
from gradclip_cli.results.report import Report
from gradclip_cli.rules.choosing import apart, needs
from tests.dumps import LANES, Stored, floats, lanes, read_safetensors, write_npy, write_safetensors
from tests.laws import CASES, by_average, by_own_norm, by_rms, by_value
from tests.recorded import CODES, acceptance

Options = dict[str, Any]
Dump = Mapping[str, Stored]


def written(folder: Path, dump: Dump, **options: Any) -> tuple[Dump, Report]:
    source = write_safetensors(folder / "in.safetensors", dump)
    report = gradclip_cli.apply(source, output=folder / "out", force=True, **options)
    return read_safetensors(folder / "out").tensors, report


def clipped(report: Report) -> Clipped:
    assert report.clipped is not None
    return report.clipped


# What the frameworks' own tests expect

EXPECTED: dict[str, Options] = {}
for _rule, _names in CASES.items():
    for _name in _names:
        _params = acceptance()[_name]["params"]
        if _rule is by_value:
            _high = next(
                _params[key]
                for key in ("clip_value", "max_delta", "clipvalue", "max")
                if key in _params
            )
            EXPECTED[_name] = {"clip_value": (_params.get("min", -_high), _high)}
        elif _rule is by_own_norm:
            _limit = _params["clip_norm" if "clip_norm" in _params else "clipnorm"]
            EXPECTED[_name] = {"clip_norm": _limit, "per_tensor": True}
            if "axes" in _params:
                EXPECTED[_name]["axes"] = _params["axes"]
        elif _rule is by_average:
            EXPECTED[_name] = {"clip_norm": _params["clip_norm"], "average": True}
        elif _rule is by_rms:
            EXPECTED[_name] = {"clip_rms": _params["threshold"]}
INTEGERS = {"int32": "I32", "uint8": "U8"}
"""Integers alone are taken as gradients and written as float64."""
EXPECTED = {name: given for name, given in EXPECTED.items() if "axes" not in given}
"""By slices: see `test_units`."""


def given_tensor(tensor: dict[str, Any]) -> Stored:
    values = np.array(tensor["data"])
    if tensor["dtype"] in INTEGERS:
        words = values.astype(tensor["dtype"])
        return INTEGERS[tensor["dtype"]], words.shape, words.tobytes()
    return floats(CODES[tensor["dtype"]], tensor["shape"], values.ravel().tolist())


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_clipped_as_the_frameworks_own_test_expects(name: str, tmp_path: Path) -> None:
    case = acceptance()[name]
    dump = {f"g{at}": given_tensor(tensor) for at, tensor in enumerate(case["inputs"])}

    found, _ = written(tmp_path, dump, **EXPECTED[name])

    for mine, expected in zip(found.values(), case["expect"]["outputs"], strict=True):
        np.testing.assert_allclose(
            lanes(mine), np.ravel(expected), rtol=case["rtol"], atol=case["atol"]
        )


# What every rule promises


@dataclass(frozen=True)
class Promise:
    """A rule for the tests: its options with a limit, and what the limit is for, of a tensor."""

    options: Options
    limit: str
    joint: bool = False

    def of(self, limit: float) -> Options:
        """Give the options with this limit."""
        return {**self.options, self.limit: limit}

    def sizes(self, dump: Dump) -> list[float]:
        """Give what the limit is for, of each tensor or of all together."""
        values = [lanes(stored) for stored in dump.values()]
        if self.joint:
            return [math.hypot(*[value for part in values for value in part])]
        norms = [math.hypot(*part) for part in values]
        counts = [max(len(part), 1) for part in values]
        match self.limit, self.options:
            case "clip_value", _:
                return [max(map(abs, part), default=0.0) for part in values]
            case "clip_rms", _:
                return [norm / math.sqrt(n) for norm, n in zip(norms, counts, strict=True)]
            case _, {"average": True}:
                return [norm / n for norm, n in zip(norms, counts, strict=True)]
        return norms


PROMISES = {
    "global": Promise({}, "clip_norm", joint=True),
    "per tensor": Promise({"per_tensor": True}, "clip_norm"),
    "each a group": Promise({"per_group": "1"}, "clip_norm"),
    "one group": Promise({"per_group": r"^()"}, "clip_norm", joint=True),
    "average": Promise({"average": True}, "clip_norm"),
    "rms": Promise({}, "clip_rms"),
    "value": Promise({}, "clip_value"),
}
PLAIN = {"global", "per tensor", "average", "value"}  # of which the others are like


def each(promises: Iterable[str]) -> pytest.MarkDecorator:
    """Run a test for each of some promises; those like another only where time is no matter."""
    return pytest.mark.parametrize(
        "promise",
        [
            pytest.param(PROMISES[name], id=name, marks=[] if name in PLAIN else pytest.mark.heavy)
            for name in promises
        ],
    )


every_promise = each(PROMISES)
scaling = each(name for name in PROMISES if name != "value")


@some.composite
def dumps(draw: some.DrawFn) -> Dump:
    """Draw one to four small tensors of ordinary to large and small values."""
    dump: dict[str, Stored] = {}
    for at in range(draw(some.integers(1, 4))):
        code = draw(some.sampled_from(["F16", "BF16", "F32", "F64"]))
        scale = draw(some.sampled_from([1.0, 1e-3, 1e3]))
        values = draw(some.lists(some.floats(-10, 10, width=16), max_size=6))
        dump[f"t{at}.w"] = floats(code, (len(values),), [value * scale for value in values])
    return dump


thorough = settings(max_examples=30)


@every_promise
@given(dump=dumps(), room=some.sampled_from([1.0, 1.5, 100.0]))
@thorough
def test_nothing_changes_within_the_limit(promise: Promise, dump: Dump, room: float) -> None:
    limit = max(promise.sizes(dump)) * (1 + 1e-14) * room or 1.0
    with tempfile.TemporaryDirectory() as folder:
        found, report = written(Path(folder), dump, **promise.of(limit))
    assert found == dump
    assert not clipped(report).clipped


@every_promise
@given(dump=dumps(), limit=some.floats(1e-2, 100))
@thorough
def test_the_limit_is_kept_up_to_rounding_and_a_second_time_changes_a_rounding_at_most(
    promise: Promise, dump: Dump, limit: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        once, _ = written(Path(folder), dump, **promise.of(limit))
        twice, _ = written(Path(folder), once, **promise.of(limit))
    forms = [LANES[code] for code, _, _ in dump.values()]
    # In float64 norm, coefficient and product are each rounded as much as the result is.
    rounding = max(2.0**-form.fraction_bits for form in forms) + 2.0**-51
    smallest = max(form.smallest for form in forms)
    for size in promise.sizes(once):
        assert size <= limit * (1 + rounding) + 5 * smallest
    for first, second in zip(once.values(), twice.values(), strict=True):
        for one, two in zip(lanes(first), lanes(second), strict=True):
            assert abs(one - two) <= abs(one) * rounding + smallest


@scaling
@given(dump=dumps(), limit=some.floats(1e-2, 100))
@thorough
def test_a_tensor_keeps_its_direction_each_value_rounded_once(
    promise: Promise, dump: Dump, limit: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, report = written(Path(folder), dump, **promise.of(limit))
    rows = {row.name: row.clipped for row in report.tensors}
    for name, stored in dump.items():
        code, shape, _ = stored
        row = rows[name]
        assert row is not None
        assert row.coefficient is not None
        assert 0 < row.coefficient <= 1
        products = [value * row.coefficient for value in lanes(stored)]
        assert found[name] == floats(code, shape, products)
        assert row.clipped == (row.coefficient != 1)


@pytest.mark.parametrize("name", ["global", "each a group", "one group"])
@given(dump=dumps(), limit=some.floats(1e-2, 100))
@thorough
def test_how_a_dump_is_parted_into_files_changes_nothing(
    name: str, dump: Dump, limit: float
) -> None:
    options = PROMISES[name].of(limit)
    with tempfile.TemporaryDirectory() as folder:
        whole, report = written(Path(folder), dump, **options)
        parts = []
        for at, (tensor, stored) in enumerate(dump.items()):
            parts.append(write_safetensors(Path(folder, f"{at}.safetensors"), {tensor: stored}))
        target = Path(folder, "parted")
        parted = gradclip_cli.apply(*parts, output=f"{target}/", **options)
        files = [read_safetensors(target / path.name).tensors for path in parts]
    assert {key: stored for file in files for key, stored in file.items()} == whole
    assert clipped(parted) == clipped(report)


@given(dump=dumps(), low=some.floats(-10, 10), width=some.floats(0, 10))
@thorough
def test_clipping_by_value_keeps_what_is_within_and_rounds_the_limits(
    dump: Dump, low: float, width: float
) -> None:
    high = low + width
    with tempfile.TemporaryDirectory() as folder:
        found, _ = written(Path(folder), dump, clip_value=(low, high))
    for name, stored in dump.items():
        code, shape, _ = stored
        kept = [min(max(value, low), high) for value in lanes(stored)]
        assert lanes(found[name]) == lanes(floats(code, shape, kept))


# Examples


@pytest.mark.parametrize("how", [{}, {"per_tensor": True}, {"per_tensor": True, "axes": 0}])
def test_integers_within_the_limit_are_not_clipped(how: Options, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4))
    report = gradclip_cli.apply(tmp_path / "a.npy", clip_norm=100.0, dry_run=True, **how)
    (row,) = report.rows
    assert row.clipped is not None
    assert report.clipped is not None
    assert report.ruling is not None
    assert (row.clipped.clipped, report.clipped.clipped, report.ruling.changed) == (False, False, 0)


def test_each_tensor_is_clipped_by_its_own_norm_even_side_by_side(tmp_path: Path) -> None:
    dump = {f"t{at}": floats("F32", (2,), [3.0 * 2**at, 4.0 * 2**at]) for at in range(5)}
    found, report = written(tmp_path, dump, clip_norm=10.0, per_tensor=True)
    assert [lanes(stored) for stored in found.values()] == [
        [3.0, 4.0], [6.0, 8.0], [6.0, 8.0], [6.0, 8.0], [6.0, 8.0]
    ]  # fmt: skip
    coefficients = {row.name: row.clipped and row.clipped.coefficient for row in report.tensors}
    assert coefficients == {"t0": 1.0, "t1": 1.0, "t2": 0.5, "t3": 0.25, "t4": 0.125}
    assert clipped(report).coefficient is None
    assert report.ruling is not None
    assert report.ruling.changed == 3


def test_a_group_is_clipped_by_its_joint_norm(tmp_path: Path) -> None:
    dump = {
        "a.x": floats("F32", (1,), [30.0]),
        "b.x": floats("F32", (1,), [0.5]),
        "a.y": floats("F64", (1,), [40.0]),
    }
    found, _ = written(tmp_path, dump, clip_norm=5.0, per_group="1")
    assert [lanes(stored) for stored in found.values()] == [[3.0], [0.5], [4.0]]


def test_eps_scales_what_is_within_it_of_the_limit(tmp_path: Path) -> None:
    dump = {"a": floats("F64", (2,), [3.0, 4.0])}
    found, report = written(tmp_path, dump, clip_norm=5.0, eps=1e-6)
    assert clipped(report).coefficient == 5.0 / 5.000001
    assert lanes(found["a"]) == [3.0 * (5.0 / 5.000001), 4.0 * (5.0 / 5.000001)]


BAD = {
    "fine": floats("F32", (2,), [3.0, 4.0]),
    "bad": floats("F32", (2,), [math.inf, math.nan]),
}


@every_promise
def test_what_is_not_finite_is_refused_by_every_rule(promise: Promise, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="1 of 2 tensors"):
        written(tmp_path, BAD, **promise.of(1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("zero", [[2.0, 2.0], [0.0, 0.0]]),
        ("skip", [[2.0, 2.0], [math.inf, math.nan]]),
        ("propagate", [[2.0, 2.0], [2.0, math.nan]]),
    ],
)
def test_of_what_is_not_finite_the_policy_decides_when_values_are_clipped(
    policy: str, expected: list[list[float]], tmp_path: Path
) -> None:
    found, _ = written(tmp_path, BAD, clip_value=2.0, nonfinite=policy)
    np.testing.assert_equal([lanes(stored) for stored in found.values()], expected)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("zero", [[1.5, 2.0], [0.0, 0.0]]),
        ("skip", [[1.5, 2.0], [math.inf, math.nan]]),
        ("propagate", [[1.5, 2.0], [math.nan, math.nan]]),
    ],
)
def test_of_what_is_not_finite_the_policy_decides_when_tensors_are_clipped(
    policy: str, expected: list[list[float]], tmp_path: Path
) -> None:
    found, _ = written(tmp_path, BAD, clip_norm=2.5, per_tensor=True, nonfinite=policy)
    np.testing.assert_equal([lanes(stored) for stored in found.values()], expected)


def test_complex_values_have_no_order(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "z.npy", floats("<c16", (1,), [3.0, 4.0]))
    with pytest.raises(GradclipError, match="complex values have no order"):
        gradclip_cli.apply(source, clip_value=1.0, dry_run=True)
    report = gradclip_cli.apply(source, clip_rms=1.0, dry_run=True)
    (row,) = report.tensors
    assert row.clipped is not None
    assert row.clipped.coefficient == 0.2


def norm_after(source: Path, **rule: Any) -> float:
    report = gradclip_cli.apply(source, dry_run=True, **rule)
    assert report.clipped is not None
    assert report.clipped.norm_after is not None
    return report.clipped.norm_after


@pytest.mark.parametrize(
    ("descr", "beyond"), [("<f2", 65505.0), ("<f4", 1e300), ("<f8", None), ("<i4", None)]
)
def test_limits_that_a_dtype_cannot_hold(descr: str, beyond: float | None, tmp_path: Path) -> None:
    source = tmp_path / "w.npy"
    np.save(source, np.array([3, -4], descr))
    for limit in (beyond or 1e300, 1e307):
        assert norm_after(source, clip_value=limit) == 5
        for low, high in ((limit, math.inf), (-math.inf, -limit)):
            if beyond is None:
                after = norm_after(source, clip_value=(low, high))
                assert after == pytest.approx(limit * math.sqrt(2))
                continue
            with pytest.raises(GradclipError, match=r"has no number from \S+ to "):
                norm_after(source, clip_value=(low, high))
            (what_if,) = gradclip_cli.inspect(source, clip_value=(low, high)).what_if
            assert what_if.norm_after is None


def test_a_norm_beyond_float64_is_refused_only_where_the_rule_goes_by_it(tmp_path: Path) -> None:
    dump = {name: floats("F64", (1,), [1.5e308]) for name in ("a", "b")}
    with pytest.raises(RefusedError, match="the global norm is beyond float64"):
        written(tmp_path, dump, clip_norm=1.0)
    found, _ = written(tmp_path, dump, clip_norm=1.5e308 * 2.0**-10, per_tensor=True)
    assert [lanes(stored) for stored in found.values()] == [[1.5e308 * 2.0**-10]] * 2


# What cannot go together

SAMPLES: dict[str, Options] = {
    "--clip-norm": {"clip_norm": 1.0},
    "--clip-value": {"clip_value": 1.0},
    "--clip-rms": {"clip_rms": 1.0},
    "--agc": {"agc": 0.1, "params": "params"},
    "--params": {"params": "params"},
    "--agc-layout": {"agc_layout": "jax"},
    "--per-tensor": {"per_tensor": True},
    "--axes": {"per_tensor": True, "axes": "0"},
    "--per-group": {"per_group": "1"},
    "--average": {"average": True},
    "--norm-type": {"norm_type": 1.0},
    "--eps": {"eps": 0.0},
    "--like": {"like": "tensorflow"},
    "--use-norm": {"use_norm": 0.0},
    "--loss-scale": {"loss_scale": 2.0},
}

OTHER_LIMITS = {"--clip-value", "--clip-rms", "--agc"}


def parameter(flag: str) -> str:
    """Give what Python calls an option."""
    return flag.removeprefix("--").replace("-", "_")


@pytest.mark.parametrize("pair", apart(), ids=" ".join)
def test_options_that_exclude_each_other_are_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    options = {**SAMPLES["--clip-norm"]} if not {*pair} & OTHER_LIMITS else {}
    for option in pair:
        options |= SAMPLES[option]
    with pytest.raises(GradclipError, match=f"cannot go with {parameter(pair[1])}") as caught:
        written(tmp_path, {}, **options)
    assert caught.value.subject == parameter(pair[0])


@pytest.mark.parametrize("option", needs())
def test_an_option_that_needs_another_is_refused_without_it(option: str, tmp_path: Path) -> None:
    need = needs()[option]
    needed, what = flag_of(need.option), need.what
    other: Options = {"clip_value": 1.0} if needed == "--clip-norm" else {"clip_norm": 1.0}
    given = SAMPLES[option]
    if option == "--agc":
        other, given = {}, {"agc": 0.1}
    if option == "--axes":
        given = {"axes": "0"}
    with pytest.raises(GradclipError, match=f"needs {what}") as caught:
        written(tmp_path, {}, **other, **given)
    assert caught.value.subject == parameter(option)
    assert f"{parameter(needed)}=" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no rule is named"),
        ({"clip_value": "2,1"}, "the lower limit 2.0 is above the upper 1.0"),
        ({"clip_value": (2.0, 1.0)}, "the lower limit 2.0 is above the upper 1.0"),
        ({"clip_value": "1,2,3"}, "not a limit for values"),
        ({"clip_value": "one"}, "not a limit for values"),
        ({"clip_value": "nan,1"}, "not a limit for values"),
        ({"clip_value": -1.0}, "not a limit for values"),
        ({"clip_value": math.inf}, "not a limit for values"),
        ({"clip_rms": 0.0}, "0.0 is not a limit for a root mean square"),
        ({"clip_norm": 1.0, "eps": -1.0}, "-1.0 cannot be added"),
        ({"clip_norm": 1.0, "eps": math.inf}, "inf cannot be added"),
        ({"clip_norm": 1.0, "per_group": "("}, "is not a regular expression"),
        ({"clip_norm": 1.0, "per_group": "a"}, "has no group to name the groups by"),
        ({"clip_norm": 1.0, "per_tensor": True, "like": "torch"}, "torch has no rule for each"),
        ({"clip_norm": 1.0, "nonfinite": "zero", "like": "torch"}, "nonfinite='zero'"),
        ({"clip_norm": math.nan, "like": "torch"}, "nan is not a limit"),
        ({"clip_norm": -1.0}, "-1.0 is not a limit"),
        ({"clip_norm": 1.0, "norm_type": -1.0}, "-1.0 is no type of norm"),
        ({"clip_norm": 1.0, "norm_type": 1.0, "like": "optax"}, "optax knows no other norm"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(
    options: Options, said: str, tmp_path: Path
) -> None:
    with pytest.raises(GradclipError, match=said):
        written(tmp_path, {}, **options)


def test_no_tensor_at_all_is_fine(tmp_path: Path) -> None:
    for promise in PROMISES.values():
        found, report = written(tmp_path, {}, **promise.of(1.0))
        assert not found
        assert not clipped(report).clipped
