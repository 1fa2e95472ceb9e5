"""The formats of a report, which rows it has, and the gates."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.dumps import exact_norm, floats, write_npy, write_safetensors
from tests.readers import PARSED, of_csv, of_md, of_tsv, strict
from tests.running import Run, gradclip, in_shell, one_error

# The README and section 4 of the design document these; they are only ever appended to.
COLUMNS = [
    *("row", "name", "dtype", "shape", "count", "norm", "share", "rms", "max_abs"),
    *("max_abs_index", "zeros", "nan", "posinf", "neginf", "first_nonfinite", "finite_norm"),
    "measured",
]
CLIPPED = [
    *("norm_before", "clip_norm", "coefficient", "clipped", "norm_after", "flushed", "saturated")
]
SUMMARY = {"schema", "global_norm", "finite_norm", "norm_type", "files", "nonfinite"}

VALUES: dict[str, list[float]] = {
    "layers.10.w": [0.1, -0.7, 0.0, 1e-3, 2.5, -0.3],
    "layers.2.w": [1e20, 3e19],
    "layers.2.b": [1e-30],
    "step": [1, 2, 3],
    "empty": [],
    "scalar": [-4.0],
}
FINITE = {name: floats("F32", (len(values),), values) for name, values in VALUES.items()} | {
    "layers.10.w": floats("F32", (2, 3), VALUES["layers.10.w"]),
    "step": ("I64", (3,), b"".join(n.to_bytes(8, "little") for n in (1, 2, 3))),
    "empty": ("BF16", (0, 3), b""),
    "scalar": floats("F64", (), VALUES["scalar"]),
}
BAD = FINITE | {
    "layers.2.w": floats("F32", (2, 2), [1.0, math.nan, math.inf, math.nan]),
    "layers.2.b": floats("F16", (2,), [-math.inf, 3.0]),
}
TEXT = ["tsv", "csv", "md"]
FORMATS = [*TEXT, "json", "jsonl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with dumps to report on."""
    folder = tmp_path_factory.mktemp("reports")
    write_safetensors(folder / "finite.safetensors", FINITE)
    write_safetensors(folder / "bad.safetensors", BAD)
    layers = {
        f"model.layers.{layer}.{part}": floats("F32", (2,), [layer + size, 0.1 * layer])
        for layer in (10, 2, 1)
        for size, part in enumerate(("attn.q", "attn.k", "mlp"))
    }
    layers["model.head"] = floats("F32", (1,), [5.5])
    write_safetensors(folder / "layers.safetensors", layers)
    write_safetensors(folder / "345.safetensors", {"a": floats("F32", (2,), [3, 4])})
    write_safetensors(folder / "inf.safetensors", {"a": floats("F32", (2,), [3, math.inf])})
    write_safetensors(folder / "nan.safetensors", {"a": floats("F32", (2,), [3, math.nan])})
    write_safetensors(folder / "beyond.safetensors", {"a": floats("F64", (2,), [1.5e308, 1.5e308])})
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Callable[..., str]:
    """Give a function that runs `inspect` or `apply` once for each way of calling it."""

    @cache
    def run(*arguments: str) -> str:
        done = gradclip(*arguments, cwd=folder)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    return run


def names(text: str) -> list[str]:
    """Give the names of a TSV report's rows, but for the whole."""
    *rows, whole = of_tsv(text)
    assert whole["row"] == "global"
    return [row["name"] for row in rows]


# What every format has in common


@pytest.mark.parametrize("form", TEXT)
def test_the_columns_of_inspect_are_those_documented(report: Callable[..., str], form: str) -> None:
    rows = PARSED[form](report("inspect", "finite.safetensors", "--format", form))
    assert all(list(row) == COLUMNS for row in rows)
    assert [row["row"] for row in rows] == ["tensor"] * len(FINITE) + ["global"]


def test_apply_appends_its_columns(report: Callable[..., str]) -> None:
    rows = of_tsv(report("apply", "finite.safetensors", "--clip-norm", "1", "--dry-run"))
    assert all(list(row) == COLUMNS + CLIPPED for row in rows)
    assert [row["row"] for row in rows] == ["tensor"] * len(FINITE) + ["global"]


def test_json_has_the_same_columns_as_keys(report: Callable[..., str]) -> None:
    whole = strict(report("inspect", "finite.safetensors", "--json"))
    assert all(list(row) == COLUMNS[1:] for row in whole["tensors"])
    lines = report("inspect", "finite.safetensors", "--format", "jsonl").splitlines()
    assert all(list(strict(line)) == [*COLUMNS, "fingerprint"] for line in lines[:-1])
    clipped = strict(
        report("apply", "finite.safetensors", "--clip-norm", "1", "--dry-run", "--json")
    )
    assert all(list(row) == COLUMNS[1:] + CLIPPED for row in clipped["tensors"])


def test_json_says_its_schema_and_the_whole(report: Callable[..., str]) -> None:
    whole = strict(report("inspect", "finite.safetensors", "--json"))
    assert whole["schema"] == 1
    assert whole.keys() >= SUMMARY
    assert not whole.keys() & set(CLIPPED)
    clipped = strict(
        report("apply", "finite.safetensors", "--clip-norm", "1", "--dry-run", "--json")
    )
    assert clipped.keys() >= SUMMARY | set(CLIPPED)
    assert (clipped["clip_norm"], clipped["clipped"], clipped["norm_after"]) == (
        1,
        True,
        pytest.approx(1, rel=1e-6),
    )


def as_cell(value: object) -> str:
    """Write a value of JSON as the text formats do, where numbers came in as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else str(value)


def test_all_formats_say_the_same(report: Callable[..., str]) -> None:
    tsv = of_tsv(report("inspect", "finite.safetensors"))
    assert of_csv(report("inspect", "finite.safetensors", "--format", "csv")) == tsv
    assert of_md(report("inspect", "finite.safetensors", "--format", "md")) == tsv
    whole = strict(report("inspect", "finite.safetensors", "--json"), parse_float=str)
    lines = report("inspect", "finite.safetensors", "--format", "jsonl").splitlines()
    *rows, last = [strict(line, parse_float=str) for line in lines]
    assert [len(row.pop("fingerprint") or "") for row in rows] == [
        16 * row["measured"] for row in rows
    ]
    assert [{"row": "tensor", **row} for row in whole["tensors"]] == rows
    assert {name: value for name, value in last.items() if name != "row"} == {
        name: value for name, value in whole.items() if name != "tensors"
    }
    assert last["row"] == "global"
    for row, cells in zip(rows, tsv[:-1], strict=True):
        assert {
            name: as_cell(value) if name != "shape" else json.dumps(value, separators=(",", ":"))
            for name, value in row.items()
        } == cells
    assert last["global_norm"] == tsv[-1]["norm"]
    assert str(last["count"]) == tsv[-1]["count"]


def test_json_is_short_for_format_json(report: Callable[..., str]) -> None:
    assert report("inspect", "finite.safetensors", "--json") == report(
        "inspect", "finite.safetensors", "--format", "json", "--json"
    )


def test_json_cannot_go_with_another_format(run: Run, folder: Path) -> None:
    said = run("inspect", "finite.safetensors", "--json", "--format", "csv", cwd=folder)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err) == "gradclip: --json: cannot go with --format csv"


def test_an_unknown_format_is_refused_with_the_known_ones(run: Run, folder: Path) -> None:
    said = run("inspect", "finite.safetensors", "--format", "xml", cwd=folder)
    assert (said.status, said.out) == (2, "")
    assert all(form in one_error(said.err) for form in ("table", *FORMATS))


# Numbers


def test_numbers_round_trip_and_are_right(report: Callable[..., str]) -> None:
    rows = {row["name"]: row for row in of_tsv(report("inspect", "finite.safetensors"))}
    for name in ("norm", "share", "rms", "max_abs", "finite_norm"):
        for row in rows.values():
            assert row[name] in ("", repr(float(row[name] or 0)))
    assert float(rows["scalar"]["norm"]) == 4.0
    expected = exact_norm(of_float32(VALUES["layers.10.w"]))
    assert float(rows["layers.10.w"]["norm"]) == pytest.approx(expected, rel=1e-15)
    assert rows["layers.10.w"]["max_abs"] == "2.5"
    assert rows["layers.10.w"]["max_abs_index"] == "[1,1]"
    assert rows["layers.10.w"]["shape"] == "[2,3]"
    assert rows["layers.10.w"]["zeros"] == "1"
    assert rows["scalar"]["shape"] == rows["scalar"]["max_abs_index"] == "[]"
    everything = [
        value
        for name, values in VALUES.items()
        if name != "step"
        for value in (values if name == "scalar" else of_float32(values))
    ]
    assert float(rows[""]["norm"]) == pytest.approx(exact_norm(everything), rel=1e-15)


def of_float32(values: Sequence[float]) -> list[float]:
    """Round numbers to float32."""
    return list(memoryview(floats("F32", (len(values),), values)[2]).cast("f"))


@pytest.mark.parametrize("form", TEXT)
def test_what_is_unknown_is_empty(report: Callable[..., str], form: str) -> None:
    rows = PARSED[form](report("inspect", "finite.safetensors", "--format", form))
    (step,) = [row for row in rows if row["name"] == "step"]
    known = {"row", "name", "dtype", "shape", "count", "measured"}
    assert {name for name, cell in step.items() if cell} == known
    assert step["measured"] == "false"
    (empty,) = [row for row in rows if row["name"] == "empty"]
    assert (empty["norm"], empty["count"], empty["rms"], empty["max_abs"]) == ("0.0", "0", "", "")
    assert (rows[-1]["name"], rows[-1]["dtype"], rows[-1]["shape"]) == ("", "", "")


def test_what_is_unknown_is_null_in_json(report: Callable[..., str]) -> None:
    whole = strict(report("inspect", "finite.safetensors", "--json"))
    (step,) = [row for row in whole["tensors"] if row["name"] == "step"]
    assert step["measured"] is False
    assert all(step[name] is None for name in ("norm", "share", "zeros", "nan", "max_abs_index"))


@pytest.mark.parametrize("form", TEXT)
def test_what_is_not_finite_is_said_in_words(report: Callable[..., str], form: str) -> None:
    *rows, whole = PARSED[form](report("inspect", "bad.safetensors", "--format", form))
    found = {row["name"]: row for row in rows}
    assert found["layers.2.w"]["norm"] == "nan"
    assert found["layers.2.b"]["norm"] == "inf"
    assert found["layers.2.w"]["finite_norm"] == "1.0"
    assert found["layers.2.w"]["first_nonfinite"] == "[0,1]"
    assert [found["layers.2.w"][name] for name in ("nan", "posinf", "neginf")] == ["2", "1", "0"]
    assert [whole[name] for name in ("norm", "nan", "posinf", "neginf")] == ["nan", "2", "1", "1"]
    assert all(row["share"] == "" for row in rows), "no share of what is not finite"


def test_what_is_not_finite_is_null_in_json_beside_counts_that_say_why(
    report: Callable[..., str],
) -> None:
    whole = strict(report("inspect", "bad.safetensors", "--json"))
    assert whole["global_norm"] is None
    assert whole["nonfinite"] == 4
    finite = exact_norm([1.0, 3.0, 4.0, *of_float32(VALUES["layers.10.w"])])
    assert whole["finite_norm"] == pytest.approx(finite, rel=1e-15)
    found = {row["name"]: row for row in whole["tensors"]}
    assert found["layers.2.w"]["norm"] is None
    assert found["layers.2.b"]["norm"] is None
    assert (found["layers.2.b"]["neginf"], found["layers.2.b"]["finite_norm"]) == (1, 3)
    lines = report("inspect", "bad.safetensors", "--format", "jsonl").splitlines()
    assert strict(lines[-1])["global_norm"] is None


def test_a_norm_beyond_float64_is_inf_or_null_and_said(report: Callable[..., str]) -> None:
    assert of_tsv(report("inspect", "beyond.safetensors"))[-1]["norm"] == "inf"
    whole = strict(report("inspect", "beyond.safetensors", "--json"))
    assert (whole["global_norm"], whole["nonfinite"], whole["overflow"]) == (None, 0, True)


# Other people's readers


def test_jq_reads_json_and_json_lines(folder: Path) -> None:
    if not shutil.which("jq"):
        pytest.skip("jq is not installed")
    script = "gradclip inspect bad.safetensors --json | jq -r '.tensors[].name'"
    done = in_shell(script, folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(done.stdout.decode().split()) == sorted(FINITE)
    script = "gradclip inspect bad.safetensors --format jsonl | jq -r '.row'"
    assert in_shell(script, folder).stdout.decode().split() == ["tensor"] * 6 + ["global"]


@pytest.mark.parametrize("dump", ["finite.safetensors", "bad.safetensors"])
def test_the_json_tool_of_python_reads_json(report: Callable[..., str], dump: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "json.tool"],
        input=report("inspect", dump, "--json").encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["schema"] == 1


def test_pandas_reads_csv(report: Callable[..., str], tmp_path: Path) -> None:
    pandas: Any = pytest.importorskip("pandas", reason="pandas is not installed")
    path = tmp_path / "report.csv"
    path.write_bytes(report("inspect", "bad.safetensors", "--format", "csv").encode())
    frame = pandas.read_csv(path)
    assert list(frame.columns) == COLUMNS
    assert frame["row"].tolist() == ["tensor"] * 6 + ["global"]
    assert frame["nan"].sum() == 4
    assert math.isinf(frame.set_index("name")["norm"]["layers.2.b"])


def test_duckdb_reads_csv(report: Callable[..., str], tmp_path: Path) -> None:
    duckdb: Any = pytest.importorskip("duckdb", reason="duckdb is not installed")
    path = tmp_path / "report.csv"
    path.write_bytes(report("inspect", "bad.safetensors", "--format", "csv").encode())
    found = duckdb.sql(f"select * from read_csv('{path}')")
    assert found.columns == COLUMNS
    assert len(found.fetchall()) == 7


def test_miller_reads_tsv_and_csv(folder: Path) -> None:
    if not shutil.which("mlr"):
        pytest.skip("Miller is not installed")
    for form, flag in (("tsv", "--itsv"), ("csv", "--icsv")):
        script = f"gradclip inspect bad.safetensors --format {form} | mlr {flag} --ojson cat"
        rows = json.loads(in_shell(script, folder).stdout)
        assert [list(row) for row in rows] == [COLUMNS] * 7


def test_awk_finds_a_column_of_the_default_format(folder: Path) -> None:
    script = "gradclip inspect layers.safetensors | awk -F'\\t' '$1 == \"global\" {print $5}'"
    assert in_shell(script, folder).stdout == b"19\n"


# Which rows, in which order


@pytest.fixture(scope="module")
def several(folder: Path) -> tuple[str, ...]:
    """Give files whose tensors every key puts in another order."""
    write_npy(folder / "z10.npy", floats("<f4", (3,), [1, 1, 1]))
    write_npy(folder / "z2.npy", floats("<f4", (1,), [9]))
    write_npy(folder / "y.npy", floats("<f4", (2,), [0.5, math.nan]))
    write_npy(folder / "x1.npy", floats("<f4", (4,), [6, 6, 6, 6]))
    (folder / "a").mkdir()
    write_safetensors(
        folder / "a" / "10.safetensors",
        {"w10": floats("F32", (1,), [0.25]), "w9": ("I8", (9,), bytes(9))},
    )
    return ("z10.npy", "z2.npy", "y.npy", "x1.npy", "a")


@pytest.mark.parametrize(
    ("key", "order"),
    [
        (None, "y x1 z2 z10 w10 w9"),
        ("name", "w9 w10 x1 y z2 z10"),
        ("norm", "x1 z2 z10 y w10 w9"),
        ("size", "w9 x1 z10 y w10 z2"),
        ("max", "z2 x1 z10 y w10 w9"),
        ("file", "w9 w10 x1 y z2 z10"),
    ],
)
def test_rows_are_sorted(
    several: tuple[str, ...], report: Callable[..., str], key: str | None, order: str
) -> None:
    wish = ("--sort", key) if key else ()
    assert names(report("inspect", *several, *wish)) == order.split()


def test_reverse_turns_the_order_round(
    several: tuple[str, ...], report: Callable[..., str]
) -> None:
    forward = names(report("inspect", *several, "--sort", "max"))
    assert names(report("inspect", *several, "--sort", "max", "--reverse")) == forward[::-1]


def test_top_takes_the_first_rows_and_leaves_the_whole_alone(
    several: tuple[str, ...], report: Callable[..., str]
) -> None:
    *_, whole = of_tsv(report("inspect", *several))
    *rows, last = of_tsv(report("inspect", *several, "--sort", "max", "--top", "2"))
    assert [row["name"] for row in rows] == ["z2", "x1"]
    assert last == whole


def test_bad_only_leaves_the_rows_that_are_not_finite(
    several: tuple[str, ...], report: Callable[..., str]
) -> None:
    assert names(report("inspect", *several, "--bad-only")) == ["y"]
    assert names(report("inspect", "finite.safetensors", "--bad-only")) == []


def test_an_unknown_key_is_refused(run: Run, folder: Path) -> None:
    said = run("inspect", "345.safetensors", "--sort", "bogus", cwd=folder)
    assert (said.status, said.out) == (2, "")
    assert "'bogus'" in one_error(said.err)


# Groups


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("3", ["model.head", "model.layers.1", "model.layers.2", "model.layers.10"]),
        (r"layers\.(\d+)", ["", "1", "2", "10"]),
        (r"(attn|mlp)", ["", "attn", "mlp"]),
    ],
)
def test_groups_add_up_to_the_whole(
    report: Callable[..., str], wish: str, expected: list[str]
) -> None:
    text = report("inspect", "layers.safetensors", "--group-by", wish, "--sort", "name")
    *groups, whole = of_tsv(text)
    assert [group["name"] for group in groups] == expected
    assert {group["row"] for group in groups} == {"group"}
    squares = math.fsum(float(group["norm"]) ** 2 for group in groups)
    assert squares == pytest.approx(float(whole["norm"]) ** 2, rel=1e-14)
    assert math.fsum(float(group["share"]) for group in groups) == pytest.approx(1, rel=1e-14)
    assert sum(int(group["count"]) for group in groups) == int(whole["count"]) == 19
    assert sum(int(group["zeros"]) for group in groups) == int(whole["zeros"])


def test_a_group_has_what_its_tensors_have(report: Callable[..., str]) -> None:
    tensors = of_tsv(report("inspect", "layers.safetensors"))
    groups = of_tsv(report("inspect", "layers.safetensors", "--group-by", "3", "--sort", "name"))
    members = [row for row in tensors if row["name"].startswith("model.layers.10.")]
    (group,) = [row for row in groups if row["name"] == "model.layers.10"]
    assert len(members) == 3
    squares = math.fsum(float(row["norm"]) ** 2 for row in members)
    assert float(group["norm"]) == pytest.approx(math.sqrt(squares), rel=1e-14)
    assert group["max_abs"] == max((row["max_abs"] for row in members), key=float) == "12.0"
    assert (group["dtype"], group["shape"], group["max_abs_index"]) == ("float32", "", "")
    assert groups[-1] == tensors[-1]


def test_groups_of_what_is_not_finite_say_so(report: Callable[..., str]) -> None:
    rows = of_tsv(report("inspect", "bad.safetensors", "--group-by", r"layers\.(\d+)"))
    assert [row["name"] for row in rows] == ["2", "", "10", ""]
    assert (rows[0]["norm"], rows[0]["nan"], rows[0]["neginf"]) == ("nan", "2", "1")
    assert rows[0]["dtype"] == "", "its tensors have several"


def test_groups_stand_under_their_own_key_in_json(report: Callable[..., str]) -> None:
    whole = strict(report("inspect", "layers.safetensors", "--group-by", "1", "--json"))
    assert whole["tensors"] == []
    assert [group["name"] for group in whole["groups"]] == ["model"]
    assert list(whole["groups"][0]) == COLUMNS[1:]
    lines = report(
        "inspect", "layers.safetensors", "--group-by", "(layers)", "--format", "jsonl"
    ).splitlines()
    assert [strict(line)["row"] for line in lines] == ["group", "group", "global"]
    assert {strict(line)["name"] for line in lines[:-1]} == {"layers", None}


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        (r"layers\.\d+", "has no group to name the rows by"),
        (r"layers\.(\d+", "is not a regular expression"),
        ("0", "has no group"),
    ],
)
def test_a_group_that_cannot_be_is_refused_before_anything_is_read(
    folder: Path, wish: str, problem: str
) -> None:
    done = gradclip("inspect", "missing.safetensors", "--group-by", wish, cwd=folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert one_error(done.stderr).startswith("gradclip: --group-by: ")
    assert problem in one_error(done.stderr)
    assert b"hint: " in done.stderr


# Gates

GATES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "equal passes": (("345", "--fail-above", "5"), ""),
    "just above fails": (
        ("345", "--fail-above", "4.999999"),
        "gradclip: global norm 5 is above 4.999999",
    ),
    "inf is not finite": (
        ("inf", "--fail-above", "inf"),
        "gradclip: the global norm is not finite: 1 +inf, likely first in a",
    ),
    "NaN is not at most anything": (
        ("nan", "--fail-above", "1e300"),
        "gradclip: the global norm is not finite: 1 NaN, likely first in a",
    ),
    "beyond float64 is not finite": (
        ("beyond", "--fail-above", "inf"),
        "gradclip: the global norm is beyond float64",
    ),
    "all finite": (("345", "--fail-nonfinite"), ""),
    "a NaN": (
        ("nan", "--fail-nonfinite"),
        "gradclip: not all values are finite: 1 NaN, likely first in a",
    ),
    "both gates, one fails": (
        ("345", "--fail-nonfinite", "--fail-above", "1"),
        "gradclip: global norm 5 is above 1",
    ),
}


@pytest.mark.parametrize(("arguments", "why"), GATES.values(), ids=GATES.keys())
def test_a_gate_has_its_status_says_why_and_the_report_is_printed(
    run: Run, folder: Path, arguments: tuple[str, ...], why: str
) -> None:
    name, *gates = arguments
    said = run("inspect", f"{name}.safetensors", *gates, cwd=folder)
    assert (said.status, said.err) == (1 if why else 0, f"{why}\n" if why else "")
    whole = strict(run("inspect", f"{name}.safetensors", *gates, "--json", cwd=folder).out)
    assert (whole["status"], why.removeprefix("gradclip: ") in whole["says"]) == (said.status, True)
    quiet = run("inspect", f"{name}.safetensors", *gates, "-q", cwd=folder)
    assert (quiet.status, quiet.out, quiet.err) == (said.status, "", "")
    assert of_tsv(said.out)[-1]["row"] == "global"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("345", "--fail-above", "1"), 1), (("nan",), 0)],
    ids=["a gate fails", "no gate"],
)
def test_quiet_prints_nothing_and_leaves_the_status(
    run: Run, folder: Path, arguments: tuple[str, ...], status: int
) -> None:
    name, *gates = arguments
    said = run("inspect", f"{name}.safetensors", *gates, "--quiet", cwd=folder)
    assert (said.status, said.out, said.err) == (status, "", "")


def test_quiet_does_not_hide_an_error(run: Run, folder: Path) -> None:
    said = run("inspect", "missing.safetensors", "--quiet", cwd=folder)
    assert (said.status, said.out) == (2, "")
    assert "missing.safetensors" in one_error(said.err)


def test_a_limit_that_is_no_norm_is_refused(run: Run, folder: Path) -> None:
    said = run("inspect", "345.safetensors", "--fail-above", "nan", cwd=folder)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err).startswith("gradclip: --fail-above: ")
