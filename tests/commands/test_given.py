"""What the Python functions are given: right values of any kind are taken, wrong ones told."""

import contextlib
import inspect
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import gradclip_cli as of_python
from gradclip_cli import GradclipError
from gradclip_cli.commands.spoken import Spoken
from tests.steps import NAN, write_steps

api: Any = of_python  # what is wrong on purpose is not for the type checker
NAMES = ("apply", "check", "diff", "inspect", "suggest", "trend")


@pytest.fixture
def dump(tmp_path: Path) -> str:
    (path,) = write_steps(tmp_path, {"head.weight": [3.0], "head.bias": [4.0], "x": [12.0]})
    return path


def told(call: Callable[[], object]) -> GradclipError:
    with pytest.raises(GradclipError) as caught:
        call()
    return caught.value


# Right values


@pytest.mark.parametrize(
    "limit",
    [
        *(1, 1.0, np.float32(1), np.float64(1), np.int64(1), np.array(1.0), np.array(1, "i2")),
        *(np.float16(1), Fraction(1), Decimal(1), np.longdouble(1)),
    ],
    ids=repr,
)
def test_a_number_is_one_whoever_has_made_it(limit: Any, dump: str) -> None:
    (wanted,) = api.inspect(dump, clip_norm=1.0).what_if
    for given_so in (limit, [limit], (limit,), np.array([limit], float)):
        assert api.inspect(dump, clip_norm=given_so).what_if == (wanted,)
    rehearsed = api.apply(dump, clip_norm=limit, dry_run=True)
    assert rehearsed == api.apply(dump, clip_norm=1.0, dry_run=True)
    by_rule = api.apply(dump, rule=api.ClipByGlobalNorm(limit), dry_run=True)
    assert by_rule == rehearsed
    assert repr(by_rule.ruling) == repr(rehearsed.ruling)


def test_whole_numbers_and_switches_of_numpy_are_taken(dump: str) -> None:
    def clipped(**options: Any) -> object:
        return api.apply(dump, clip_norm=1.0, dry_run=True, **options)

    wanted = clipped(per_tensor=True, axes=[0])
    for axes in (0, np.int64(0), [np.int64(0)], np.array([0]), iter([0]), np.array(0), "0"):
        assert clipped(per_tensor=np.bool_(True), axes=axes, workers=np.int64(1)) == wanted
    for axes in (0, np.int64(0), [np.int64(0)], np.array([0]), iter([0]), np.array(0)):
        rule = api.ClipByNorm(1.0, axes)
        assert api.apply(dump, rule=rule, dry_run=True) == wanted
    assert clipped(per_tensor=np.bool_(False)) == clipped()


@pytest.mark.parametrize(
    "patterns", ["*.weight", ["*.weight"], {"*.weight"}, np.array(["*.weight"])], ids=str
)
def test_one_pattern_or_any_list_of_them_selects(patterns: Any, dump: str) -> None:
    assert api.inspect(dump, include=patterns).global_norm == 3.0


def test_an_iterator_is_read_once_and_heeded_everywhere(dump: str) -> None:
    for name in ("include", "exclude"):
        plain = api.apply(dump, clip_norm=1.0, dry_run=True, **{name: ["head.*"]})
        once: Any = {name: (pattern for pattern in ["head.*"])}
        assert api.apply(dump, clip_norm=1.0, dry_run=True, **once) == plain
        assert api.diff(dump, dump, **{name: iter(["head.*"])}).total == plain.measured
    assert api.inspect(iter([dump])).global_norm == 13.0
    both = api.diff(dump, dump, strip_prefix="head.", rename=iter(["x=y"]))
    assert {row.name for row in both.rows} == {"weight", "bias", "y"}


# Wrong ones


WRONG: dict[str, tuple[Callable[[str], object], str]] = {
    "a limit in quotes": (
        lambda dump: api.apply(dump, clip_norm="1", dry_run=True),
        "clip_norm: '1' is not a number\nhint: give one, for example 1.0",
    ),
    "a limit that is true": (
        lambda dump: api.apply(dump, clip_norm=True, dry_run=True),
        "clip_norm: True is not a number\nhint: give one, for example 1.0",
    ),
    "a limit that is false": (
        lambda dump: api.apply(dump, clip_norm=False, clip_rms=1, dry_run=True),
        "clip_norm: False is not a number\nhint: give one, for example 1.0",
    ),
    "no policy": (
        lambda dump: api.apply(dump, clip_norm=1, nonfinite="skp", dry_run=True),
        "nonfinite: 'skp' is not one of 'refuse', 'zero', 'skip', 'propagate'\n"
        "hint: did you mean 'skip'?",
    ),
    "no layout": (
        lambda dump: api.apply(dump, agc=1, params=dump, agc_layout="x", dry_run=True),
        "agc_layout: 'x' is not one of 'jax', 'torch'\nhint: give one of them",
    ),
    "half an axis": (
        lambda dump: api.apply(dump, clip_norm=1, per_tensor=True, axes=[0.5]),
        "axes: [0.5] is not a whole number or a list of whole numbers or a text\n"
        "hint: give one, for example 1",
    ),
    "half a worker": (
        lambda dump: api.inspect(dump, workers=0.5),
        "workers: 0.5 is not a whole number from 1 to 999,999,999\nhint: give one, for example 1",
    ),
    "no worker": (
        lambda dump: api.diff(dump, dump, workers=0),
        "workers: 0 is not a whole number from 1 to 999,999,999\nhint: give one, for example 1",
    ),
    "a switch that is a number": (
        lambda dump: api.apply(dump, clip_norm=1, dry_run=1),
        "dry_run: 1 is not True or False\nhint: give one of the two",
    ),
    "a pattern in bytes": (
        lambda dump: api.inspect(dump, include=b"x"),
        "include: b'x' is not a list of texts",
    ),
    "no pattern": (
        lambda dump: api.inspect(dump, exclude=None),
        "exclude: None is not a list of texts",
    ),
    "a path in bytes": (
        lambda dump: api.check(dump.encode()),
        "paths: b'",
    ),
    "a path with a zero": (
        lambda dump: api.inspect(dump, "a\0b"),
        r"paths: 'a\x00b' is not a path or a list of paths",
    ),
    "a name that no file can have": (
        lambda dump: api.inspect(dump, "\ud800"),
        r"paths: '\ud800' is not a path or a list of paths",
    ),
    "a class": (
        lambda dump: api.apply(dump, rule=api.ClipByGlobalNorm),
        "rule: <class 'gradclip_cli.",
    ),
    "a rule of a text": (
        lambda dump: api.apply(dump, rule=api.ClipByGlobalNorm("5")),
        "clip_norm: '5' is not a number\nhint: give one, for example 1.0",
    ),
    "spikes of a text": (
        lambda dump: api.trend(dump, spike=api.RangeRule(window="x")),
        "window: 'x' is not a whole number\nhint: give one, for example 1",
    ),
    "spikes above nothing": (
        lambda dump: api.trend(dump, spike=api.SpikeRule(window=0)),
        "spike: SpikeRule(deviations=6.0, window=0) is not a rule for spikes",
    ),
    "spikes of a number": (
        lambda dump: api.trend(dump, spike=3.0),
        "spike: 3.0 is not a SpikeRule or a RangeRule",
    ),
    "a misspelt parameter": (
        lambda dump: api.apply(dump, clip_nrom=1),
        "apply: clip_nrom is no parameter; did you mean clip_norm?\n"
        "hint: help(gradclip_cli.apply) shows what can be given",
    ),
    "torch's word": (
        lambda dump: api.inspect(dump, max_norm=1),
        "inspect: max_norm is no parameter; did you mean clip_norm?",
    ),
    "one dump to compare": (
        lambda dump: api.diff(dump),
        "diff: missing a required argument: 'b'\nhint: gradclip_cli.diff(a, b, rtol=…",
    ),
    "three dumps to compare": (
        lambda dump: api.diff(dump, dump, dump),
        "diff: too many positional arguments",
    ),
    "both places": (
        lambda dump: api.apply(dump, clip_norm=1, output="b", in_place=True),
        "in_place: cannot go with output",
    ),
    "limits of nothing": (
        lambda dump: api.suggest(dump),
        "trend: '",
    ),
    "an empty list of paths": (
        lambda dump: api.apply(dump[:0].split(), clip_norm=1, dry_run=True),
        "no file is named",
    ),
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_in_words(
    call: Callable[[str], object], said: str, dump: str
) -> None:
    error = told(lambda: call(dump))
    assert str(error).startswith(said)
    assert isinstance(error, ValueError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("name", ["apply", "check", "inspect", "trend"])
def test_nothing_is_no_dump(name: str) -> None:
    options = {"clip_norm": 1} if name == "apply" else {}
    function = getattr(api, name)
    for error in told(lambda: function(**options)), told(lambda: function([], **options)):
        assert error.problem == f"no {'step' if name == 'trend' else 'file'} is named"


@pytest.mark.parametrize("name", ["apply", "diff", "inspect", "trend"])
def test_what_the_system_refuses_is_an_error_of_both_kinds(name: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "nope.npy")
    options: dict[str, Any] = {"clip_norm": 1, "dry_run": True} if name == "apply" else {}
    arguments = [missing, missing] if name == "diff" else [missing]
    error = told(lambda: getattr(api, name)(*arguments, **options))
    assert isinstance(error, FileNotFoundError)
    assert (error.subject, error.problem) == (missing, "no such file or directory")
    assert error.filename == missing
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert (again.errno, again.filename) == (error.errno, error.filename)


SAID = {
    "to replace it, add --force": "to replace it, add force=True",
    "name a file with -o, or add --in-place": "name a file with output, or add in_place=True",
    "write to a new folder with -o FOLDER/": "write to a new folder with output='FOLDER/'",
    "--nonfinite zero writes 0 for them": "nonfinite='zero' writes 0 for them",
    "give --agc L --params PATH as the rule": "give agc=0.01, params='PATH' as the rule",
    "give --clip-norm C --per-tensor": "give clip_norm=1.0, per_tensor=True",
    "give --like torch or keras, or none": "give like='torch' or 'keras', or none",
    "two, as in --clip-value -1.0,1.0": "two, as in clip_value=(-1.0, 1.0)",
    "leave --eps out": "leave eps out",
    "leave it out with --exclude 'PATTERN'": "leave it out with exclude='PATTERN'",
    "follow them: gradclip trend run/": "follow them: gradclip_cli.trend('run/')",
    "the norm that gradclip inspect reported": "the norm that gradclip_cli.inspect reported",
    "follow them: gradclip trend 'my run'; or": "follow them: gradclip_cli.trend('my run'); or",
    "anew: gradclip inspect DUMP --format jsonl > FILE": (
        "anew: gradclip inspect DUMP --format jsonl > FILE"
    ),
}


@pytest.mark.parametrize(("typed", "said"), SAID.items())
def test_what_is_typed_becomes_python(typed: str, said: str) -> None:
    assert Spoken(inspect.signature(api.apply)).says(typed) == said


def test_a_hint_is_a_call_that_would_do(tmp_path: Path) -> None:
    (bad,) = write_steps(tmp_path, {"w": [NAN, 3.0, 4.0]})
    error = told(lambda: api.apply(bad, clip_norm=1.0, dry_run=True))
    call = error.hint.split()[0]
    report = eval(f"apply(bad, clip_norm=1.0, dry_run=True, {call})", {**vars(api), "bad": bad})
    assert report.clipped.norm_before == 5.0


# Anything at all


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.lists(
        st.one_of(st.none(), st.floats(), st.integers(-2, 2), st.text(max_size=3)), max_size=3
    ),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.sampled_from(
        [
            *(np.float32("nan"), np.int8(3), np.array(2.0), np.array([1, 2]), np.array(["w"])),
            *(
                np.array(None),
                np.datetime64("nat", "s"),
                np.complex64(1),
                np.zeros((2, 2)),
                np.bool_(1),
            ),
            *(object(), object, len, Path("x"), range(3), ..., NotImplemented, {1}, 10**400),
            *(Fraction(10**400), "inf", "zero", "torch", "jax", "1", "w", "-", [[]], [[1.0]]),
            *(api.ClipByValue(2.0, 1.0), api.ClipByNorm(1.0, "x")),
            api.ClipAdaptively(1.0, params=None),
            *(api.RangeRule(-1.0), api.SpikeRule(1.0, None)),
        ]
    ),
)
OF_ARRAYS: dict[str, dict[str, Any]] = {
    "clip_by_average_norm": {"t": [3.0], "clip_norm": 1},
    "clip_by_global_norm": {"t_list": [3.0], "clip_norm": 1},
    "clip_by_norm": {"t": [3.0], "clip_norm": 1},
    "clip_by_value": {"t": [3.0], "clip_value_min": -1, "clip_value_max": 1},
    "global_norm": {"t_list": [3.0]},
}
PARAMETERS = [
    (name, parameter)
    for name in (*NAMES[:4], *NAMES[5:], *OF_ARRAYS)
    for parameter in inspect.signature(getattr(api, name)).parameters
    if (name, parameter) != ("trend", "cache")  # which is written
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_steps(tmp_path_factory.mktemp("given"), {"w": [3.0], "v.x": [4.0]})[0]


@pytest.mark.alike(3)
@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=ANYTHING)
@example(value=object())
def test_any_value_gives_a_result_or_an_error_in_words(
    name: str, parameter: str, value: Any, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    if isinstance(value, str | list) and "-" in value:
        return  # which would wait for standard input
    function = getattr(api, name)
    arguments, options = [run], dict[str, Any]()
    if name == "diff":
        arguments = [run, run]
    if name in OF_ARRAYS:
        arguments, options = [], {**OF_ARRAYS[name]}
    if name == "apply":
        options = {"dry_run": True, "clip_norm": 1.0}
    if name == "apply" and parameter == "in_place" and value is True:
        return
    if parameter in ("a", "b"):
        arguments[parameter == "b"] = value
    elif parameter in ("paths", "steps"):
        arguments = [value]
    else:
        options[parameter] = value
    with contextlib.suppress(GradclipError):
        function(*arguments, **options)


@pytest.mark.parametrize("digits", [30, 400, 5_000])
def test_a_whole_number_beyond_any_count_is_none(digits: int) -> None:
    with pytest.raises(GradclipError, match=r"axes: .* is not a whole number") as caught:
        of_python.clip_by_norm([3.0, 4.0], 1.0, axes=-(10**digits))
    assert len(caught.value.problem) < 200
