"""What clipping would do, said without writing: each number is what `apply` reports of itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.measure.spans import BLOCK
from tests.dumps import LANES, Stored, floats, write_npy, write_safetensors
from tests.running import gradclip
from tests.written import plain

LIMITS = [1e-30, 1e-3, 0.5, 7.0, 1e9]


def dump() -> dict[str, Stored]:
    numbers = np.random.default_rng(2)
    found = {}
    for code in ("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"):
        values = numbers.standard_normal(300) * 10.0 ** numbers.uniform(-6, 1, 300)
        found[code] = floats(code, (300,), [*values.tolist()])
    large = numbers.standard_normal(BLOCK + 77).astype("<f4")
    return {**found, "large": ("F32", large.shape, large.tobytes())}


@pytest.mark.parametrize("p", [2.0, 1.0, math.inf])
def test_each_number_is_the_one_that_apply_reports(p: float, tmp_path: Path) -> None:
    source = write_safetensors(tmp_path / "in", dump())
    before = source.read_bytes()
    report = gradclip_cli.inspect(source, clip_norm=LIMITS, norm_type=p)
    for limit, chance in zip(LIMITS, report.what_if, strict=True):
        done = gradclip_cli.apply(
            source, clip_norm=limit, norm_type=p, output=tmp_path / "out", force=True
        ).clipped
        assert done is not None
        assert chance.clip_norm == done.clip_norm == limit
        assert chance.coefficient == done.coefficient
        assert chance.norm_after == done.norm_after
        assert (chance.flushed, chance.saturated) == (done.flushed, done.saturated)
    assert source.read_bytes() == before
    assert report.clipped is None


@pytest.mark.parametrize("code", ["F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2", "<c8", ">f2"])
def test_values_that_become_subnormal_are_counted(code: str, tmp_path: Path) -> None:
    form = LANES[code.lstrip("<>")]
    tiny = form.value(1 << form.fraction_bits)
    values = [tiny * 2.0**power for power in range(-2, 6)]
    if code.startswith(("<", ">")):
        shape = (len(values) // 2,) if code == "<c8" else (len(values),)
        source = write_npy(tmp_path / "a.npy", floats(code, shape, values))
    else:
        source = write_safetensors(tmp_path / "a", {"a": floats(code, (len(values),), values)})
    stored = [form.value(form.rounded(value)) for value in values]
    norm = gradclip_cli.inspect(source).global_norm

    (chance,) = gradclip_cli.inspect(source, clip_norm=norm / 4).what_if

    assert chance.coefficient == 0.25
    after = [form.value(form.rounded(value / 4)) for value in stored]
    became = [0 < new < tiny <= old for old, new in zip(stored, after, strict=True)]
    if code == "<c8":  # a value of which a part becomes so
        assert chance.subnormal == sum(map(any, zip(became[::2], became[1::2], strict=True)))
    else:
        assert chance.subnormal == sum(became) == 2
        zeros = [old and not new for old, new in zip(stored, after, strict=True)]
        assert chance.flushed == sum(map(bool, zeros))


def test_integers_alone_would_become_float64(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "a.npy", ("<i8", (2,), np.array([30, 40]).tobytes()))
    (chance,) = gradclip_cli.inspect(source, clip_norm=5.0).what_if
    assert (chance.coefficient, chance.norm_after, chance.flushed) == (0.1, 5.0, 0)


def test_a_pipe_is_kept_to_be_read_again(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "a.npy", floats("<f4", (2,), [3.0, 4.0]))
    done = gradclip("inspect", "--clip-norm", "2.5", "--json", stdin=source.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    (chance,) = json.loads(done.stdout)["what_if"]
    assert (chance["coefficient"], chance["norm_after"]) == (0.5, 2.5)


def test_where_apply_would_refuse_nothing_is_known(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "a.npy", floats("<f4", (2,), [1.0, math.nan]))
    report = gradclip_cli.inspect(source, clip_norm=(1.0, 2.0))
    assert [chance.clip_norm for chance in report.what_if] == [1.0, 2.0]
    assert {chance.coefficient for chance in report.what_if} == {None}
    document = json.loads(plain(report, "json"))
    assert document["what_if"][0] == {
        "clip_norm": 1.0,
        **dict.fromkeys(["coefficient", "norm_after", "flushed", "subnormal", "saturated"]),
    }
    assert "  –" in plain(report, "table").splitlines()[-1]


def test_every_format_has_it_and_the_whole_stays_last(tmp_path: Path) -> None:
    source = write_npy(tmp_path / "a.npy", floats("<f4", (2,), [3.0, 4.0]))
    report = gradclip_cli.inspect(source, clip_norm=[2.5, 9.0])
    head, *rows = [line.split("\t") for line in plain(report, "tsv").splitlines()]
    found = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["row"] for row in found] == ["tensor", "what-if", "what-if", "global"]
    assert [row["coefficient"] for row in found] == ["", "0.5", "1.0", ""]
    assert [row["norm_after"] for row in found] == ["", "2.5", "5.0", ""]
    *_, last = plain(report, "jsonl").splitlines()
    assert [chance["coefficient"] for chance in json.loads(last)["what_if"]] == [0.5, 1.0]
    (row,) = json.loads(plain(report, "json"))["tensors"]
    assert "coefficient" not in row
    table = plain(report, "table").splitlines()
    assert [line.split() for line in table[-2:]] == [
        ["2.5", "0.5", "2.5", "0", "0"],
        ["9.0", "1.0", "5.0", "0", "0"],
    ]


def test_a_limit_that_makes_no_sense_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(GradclipError, match="is not a limit for a norm"):
        gradclip_cli.inspect(tmp_path / "none", clip_norm=[1.0, 0.0])
