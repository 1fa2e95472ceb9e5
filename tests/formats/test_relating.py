"""Tensors of one name in several files: pieces, copies and partial sums, or an error that asks."""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.commands.measuring import measured
from gradclip_cli.formats.relating import RepeatedNameError
from gradclip_cli.formats.ways import WAYS
from tests.folders import untouched
from tests.running import gradclip, norms, real

FULL = np.arange(1, 33, dtype="<f4").reshape(8, 4)


def rank(number: int, path: str = "ranks", **arrays: Any) -> None:
    """Write what a rank holds."""
    write(number, arrays, path)


def write(number: int, arrays: Mapping[str, Any], path: str = "ranks") -> None:
    """Write the same, of any names."""
    Path(path).mkdir(parents=True, exist_ok=True)
    save_file(
        {name: np.asarray(values, order="C") for name, values in arrays.items()},
        Path(path) / f"rank{number}.safetensors",
    )


def exact(values: Any) -> Any:
    """Give the norm of an array, as it should come out."""
    return pytest.approx(float(np.linalg.norm(np.asarray(values, "f8"))), rel=1e-14)


# What the files tell


def test_pieces_are_not_told_from_sums_and_the_option_is_named(here: Path) -> None:
    for number in range(4):
        rank(number, w=FULL[2 * number : 2 * number + 2])
    for command in (["inspect"], ["trend"], ["apply", "--clip-norm", "1", "-o", "x.npy"]):
        said = real(*command, "ranks")
        assert (said.status, said.out) == (2, "")
        assert "--combine pieces, copies, sum or mean" in said.err
    report = gradclip_cli.inspect("ranks", combine="pieces")
    assert {row.name: row.norm for row in report.tensors} == {"w": exact(FULL)}
    assert "w: pieces in 4 files, put together" in report.notes


def test_equal_bytes_are_copies_unless_all_values_are_one(here: Path) -> None:
    for number in range(3):
        rank(number, bias=FULL[0])
    report = gradclip_cli.inspect("ranks")
    assert report.global_norm == exact(FULL[0])
    assert "bias: copies in 3 files, counted once" in report.notes
    for values in (np.zeros(4, "f4"), np.full(4, 2.5, "f4")):
        for number in range(2):
            rank(number, "plain", bias=values)
        with pytest.raises(RepeatedNameError, match="'bias' also stands in"):
            gradclip_cli.inspect("plain")


def test_files_that_are_copies_as_a_whole_are_replicas_of_a_rank(here: Path) -> None:
    one = np.full(1, 3.5, "<f4")
    for number in range(3):
        rank(number, "all", w=FULL, s=one, z=0 * FULL)
    assert norms("all") == {"w": exact(FULL), "s": 3.5, "z": 0}
    assert "s, w, z: copies in 3 files, counted once" in gradclip_cli.inspect("all").notes
    for number in range(6):  # three shards, each twice
        shard = number % 3
        rank(number, "hybrid", w=FULL[shard], s=one[: shard == 1], z=0 * FULL[0])
    report = gradclip_cli.inspect("hybrid", combine="pieces")
    assert {row.name: row.norm for row in report.tensors} == {
        "w": exact(FULL[:3]),
        "s": 3.5,
        "z": 0,
    }
    assert "s, w, z: pieces in 3 files, put together, each in 2 copies" in report.notes
    report = gradclip_cli.inspect("hybrid", combine=["pieces", "w=pieces"], include="w")
    assert report.global_norm == exact([FULL[:3], FULL[:3]]), "as was said"


def test_a_rank_with_a_file_for_each_tensor_is_a_copy_as_a_whole_or_not_at_all(here: Path) -> None:
    for number in range(2):
        Path(f"ranks/rank{number}").mkdir(parents=True)
        for name, values in {"w": FULL, "z": 0 * FULL, "s": np.ones(1, "f4")}.items():
            np.save(f"ranks/rank{number}/{name}.npy", values)
    assert norms("ranks") == {"w": exact(FULL), "z": 0, "s": 1}
    np.save("ranks/rank0/own.npy", FULL)
    with pytest.raises(RepeatedNameError, match="tensor 's' also stands in"):
        gradclip_cli.inspect("ranks")
    with pytest.raises(RepeatedNameError, match=r"'s' .* may be a copy, as other tensors"):
        gradclip_cli.inspect("ranks", combine="pieces")


def test_ranks_are_put_together_by_their_numbers_however_a_shell_sorts_them(here: Path) -> None:
    for number in range(12):
        rank(number, w=FULL[:1] + number, v=FULL[0, : number % 3] + number)
    given = sorted(str(path) for path in Path("ranks").iterdir())
    assert given[1].endswith("rank1.safetensors")
    assert given[2].endswith("rank10.safetensors")
    gradclip_cli.apply(given, combine="pieces", clip_norm=1e9, output="whole.safetensors")
    whole = load_file("whole.safetensors")
    np.testing.assert_array_equal(whole["w"], [FULL[:1] + number for number in range(12)])
    parts = [FULL[0, : number % 3] + number for number in range(12)]
    np.testing.assert_array_equal(whole["v"], np.concatenate(parts))


def test_a_piece_that_ranks_share_counts_once(here: Path) -> None:
    one = np.full(1, 3.5, "<f4")
    for number in range(4):  # split in two directions; the norm is split in but one
        first = number < 2
        own = {"w": FULL[number], "norm": FULL[0, :3] if first else FULL[0, 3:], "z": 0 * one}
        rank(number, **own)
    report = gradclip_cli.inspect("ranks", combine="pieces")
    assert {row.name: row.norm for row in report.tensors} == {
        "w": exact(FULL[:4]),
        "norm": exact(FULL[0]),
        "z": 0,
    }
    assert "norm: pieces in 4 files, put together, each in 2 copies" in report.notes
    for number in range(4):
        rank(number, s=one[: number < 2], w=FULL[number], norm=FULL[0, 2 * (number // 2) :][:2])
    with pytest.raises(RepeatedNameError, match=r"'s' .* may be a copy, as other tensors"):
        gradclip_cli.inspect("ranks", combine="pieces")
    report = gradclip_cli.inspect("ranks", combine=["pieces", "s=copies"])
    assert report.global_norm == exact([*FULL[:4].ravel(), *FULL[0], *one])
    assert not any("no copy" in note for note in report.notes)


def test_a_bit_that_changed_in_a_copy_is_named(here: Path) -> None:
    changed = FULL.copy()
    changed.view("u4")[5, 2] ^= 1 << 20
    for number, values in enumerate((FULL, FULL, changed)):
        rank(number, w=values)
    with pytest.raises(RepeatedNameError) as caught:
        gradclip_cli.inspect("ranks")
    assert caught.value.subject == "ranks/rank2.safetensors"
    assert "a copy but for 1 of 32 values, at [5, 2], bit 20" in caught.value.problem
    (note,) = [
        note for note in gradclip_cli.inspect("ranks", combine="copies").notes if "no copy" in note
    ]
    assert note.endswith("ranks/rank2.safetensors: 1 of 32 values, at [5, 2], bit 20")
    with pytest.raises(RepeatedNameError, match="a copy but for 1 of 32 values") as asked:
        gradclip_cli.inspect("ranks", combine="pieces")
    assert asked.value.hint == "say which: combine='w=copies' or 'w=pieces'"
    report = gradclip_cli.inspect("ranks", combine="w=pieces")
    assert report.global_norm == exact([FULL, FULL, changed])
    rows = np.tri(2, 32)  # pieces that are mostly 0 are much alike
    for number, values in enumerate(rows):
        rank(number, "sparse", w=values)
    assert gradclip_cli.inspect("sparse", combine="pieces").global_norm == exact(rows)
    for first, second in ((FULL, FULL + 1), (FULL[0, :2], FULL[0, 1:3] - [0, 1])):
        rank(0, "many", w=first)
        rank(1, "many", w=second.astype("f4"))
        with pytest.raises(RepeatedNameError) as other:
            gradclip_cli.inspect("many")
        assert "but for" not in other.value.problem


def test_a_piece_of_nothing_needs_no_word(here: Path) -> None:
    rank(0, w=FULL, b=FULL[0])
    rank(1, w=FULL[:0])
    assert norms("ranks") == {"w": exact(FULL), "b": exact(FULL[0])}
    rank(1, w=FULL[0, :0])  # which is none of it: another number of axes
    with pytest.raises(RepeatedNameError):
        gradclip_cli.inspect("ranks")


# What is said


def test_pieces_of_nothing_tell_the_axis(here: Path) -> None:
    flat = FULL[0, :0]
    rank(0, w=FULL[:2], one=FULL, flat=FULL, most=flat)
    rank(1, w=FULL[2:4], one=FULL[:0], flat=flat, most=FULL[:0])
    rank(2, w=FULL[:0], one=FULL[:0], flat=flat, most=FULL[:4])
    rank(3, w=FULL[:0], one=FULL[:0], flat=flat, most=FULL[4:])
    for combine in ("pieces", "*=pieces"):
        gradclip_cli.apply("ranks", combine=combine, clip_norm=1e9, output="whole.npz", force=True)
        whole = np.load("whole.npz")
        np.testing.assert_array_equal(whole["w"], FULL[:4])
        np.testing.assert_array_equal(whole["one"], FULL)
        np.testing.assert_array_equal(whole["flat"], FULL)
        np.testing.assert_array_equal(whole["most"], FULL)


def test_the_last_match_wins_and_what_is_said_is_obeyed(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4], b=FULL[0], n=FULL[number])
    ways = ["pieces", "b=copies", "n=sum"]
    assert [*gradclip_cli.inspect("ranks", combine=ways).notes][1:] == [
        "b: copies in 2 files, counted once",
        "n: sums of what 2 files hold",
        "w: pieces in 2 files, put together",
    ]
    found = {row.name: row.norm for row in gradclip_cli.inspect("ranks", combine=ways).tensors}
    assert found == {"w": exact(FULL), "b": exact(FULL[0]), "n": exact(FULL[0] + FULL[1])}
    report = gradclip_cli.inspect("ranks", combine=[*ways, "*=pieces"])
    assert {row.name: row.norm for row in report.tensors}["b"] == exact([FULL[0], FULL[0]])


def test_without_a_pattern_it_is_said_of_what_the_files_do_not_tell(here: Path) -> None:
    for number in range(8):
        rank(number, replicated=FULL, sharded=FULL + number)
    report = gradclip_cli.inspect("ranks", combine="pieces")
    found = {row.name: row.norm for row in report.tensors}
    assert found == {
        "replicated": exact(FULL),
        "sharded": exact([FULL + number for number in range(8)]),
    }
    found = {
        row.name: row.norm for row in gradclip_cli.inspect("ranks", combine="*=pieces").tensors
    }
    assert found["replicated"] == exact([FULL] * 8)


def test_replicated_tensors_count_once_over_the_ranks_of_tensor_parallelism(here: Path) -> None:
    # https://github.com/ROCm/TransformerEngine/issues/715: 12.228 where 9.011 was right
    replicated, sharded = math.sqrt(9.761 / 41 / 4), math.sqrt(71.437 / 120 / 8 / 4)
    signs = np.array([1, -1, 1, 1], "f8")
    for number in range(8):
        arrays = {f"norm.{at}": replicated * signs for at in range(41)}
        arrays |= {f"layer.{at}": np.full(4, sharded * (-1) ** number) for at in range(120)}
        write(number, arrays)
    report = gradclip_cli.inspect("ranks", combine="pieces")
    assert round(report.global_norm, 3) == 9.011
    counted = gradclip_cli.inspect("ranks", combine="*=pieces").global_norm
    assert round(counted, 3) == 12.228


def test_one_value_alone_is_asked_for_where_other_tensors_are_copies(here: Path) -> None:
    one = np.full(1, 3.5, "<f4")
    for number in range(2):
        rank(number, w=FULL[number], b=FULL[0], **{"s[0]": one, "z": 0 * one, "n": one[0]})
    with pytest.raises(RepeatedNameError, match="may be a copy, as other tensors") as caught:
        gradclip_cli.inspect("ranks", combine="pieces")
    assert "tensor 's[0]' also stands in" in caught.value.problem
    assert caught.value.hint == "say which: combine='s[[]0]=copies' or 's[[]0]=pieces'"
    known = {"w": exact(FULL[:2]), "b": exact(FULL[0]), "z": 0, "n": 3.5}
    for way, values in {"copies": one, "pieces": [one, one]}.items():
        report = gradclip_cli.inspect("ranks", combine=["pieces", f"s[[]0]={way}"])
        assert {row.name: row.norm for row in report.tensors} == {**known, "s[0]": exact(values)}
    for number in range(2):
        rank(number, "odd", w=FULL[number], b=FULL[0], **{"s\n\x1b*": one})
    with pytest.raises(RepeatedNameError) as other:
        gradclip_cli.inspect("odd", combine="pieces")
    assert other.value.hint == "say which: combine='s??[*]=copies' or 's??[*]=pieces'"
    report = gradclip_cli.inspect("odd", combine=["pieces", "s??[*]=copies"])
    assert report.global_norm == exact([*FULL[0], *FULL[1], *FULL[0], *one])
    for number in range(2):
        rank(number, "sharded", w=FULL[number], s=one)
    report = gradclip_cli.inspect("sharded", combine="pieces")
    assert report.global_norm == exact([*FULL[0], *FULL[1], *one, *one])


@pytest.mark.parametrize("text", ["piece", "w=", "w=copy", "SUM"])
def test_a_way_that_is_none_is_told(text: str, here: Path) -> None:
    rank(0, w=FULL)
    with pytest.raises(GradclipError, match="is not one of 'pieces', 'copies', 'sum', 'mean'"):
        gradclip_cli.inspect("ranks", combine=[text])


def test_copies_that_differ_are_named(here: Path) -> None:
    for number in range(3):
        rank(number, b=FULL[0] + (number == 1))
    notes = gradclip_cli.inspect("ranks", combine="copies").notes
    assert (
        "b: no copy of that in ranks/rank0.safetensors, as was said: "
        "ranks/rank1.safetensors: 4 of 4 values, first at [0]" in notes
    )


@pytest.mark.parametrize(
    ("ways", "arrays", "words"),
    [
        ("sum", (FULL, FULL[:4]), r"have shapes \[4, 4\] and \[8, 4\]"),
        ("sum", (np.arange(3), np.arange(3)), "are int64"),
        ("pieces", (FULL, FULL[0]), "several dtypes or numbers of axes"),
        ("pieces", (FULL, FULL.astype("f8")), "several dtypes or numbers of axes"),
        ("pieces", (FULL, FULL[:4, :2]), "differ along several axes"),
    ],
)
def test_what_cannot_be_what_was_said_is_refused(
    ways: str, arrays: tuple[Any, Any], words: str, here: Path
) -> None:
    for number, values in enumerate(arrays):
        rank(number, w=values)
    with pytest.raises(GradclipError, match=words):
        gradclip_cli.inspect("ranks", combine=ways)


def test_of_a_stream_nothing_is_put_together(here: Path) -> None:
    rank(0, w=FULL)
    raw = Path("ranks/rank0.safetensors").read_bytes()
    done = gradclip("inspect", "-", "ranks", "--combine", "pieces", stdin=raw)
    assert done.returncode == 2
    assert b"of which one is a stream" in done.stderr


def test_a_pattern_that_matches_no_tensor_is_told(here: Path) -> None:
    for step in (1, 2):
        for number in range(2):
            write(number, {"layer.w": FULL, "b": FULL[number]}, f"run/step_{step}")
    ways = ["b=pieces", "lyer.*=pieces", "layer=sum"]
    said = [
        "no tensor matches --combine 'lyer.*=pieces', 'layer.w=pieces' would",
        "no tensor matches --combine 'layer=sum', '*layer*=sum' would",
    ]
    one, file = "run/step_1", "run/step_1/rank0.safetensors"
    for notes in (
        gradclip_cli.inspect(one, combine=ways).notes,
        gradclip_cli.inspect(file, combine=ways).notes,
        gradclip_cli.inspect(load_file(file), combine=ways).notes,
        gradclip_cli.apply(one, combine=ways, clip_norm=1.0, output="one.safetensors").notes,
        gradclip_cli.trend("run", combine=ways).notes,
        gradclip_cli.diff(one, "run/step_2", combine=ways).notes,
    ):
        assert [note for note in notes if "no tensor matches" in note] == said
    notes = gradclip_cli.diff(file, "run/step_2", combine=["b=pieces"]).notes
    assert not [note for note in notes if "no tensor matches" in note]


def test_it_is_told_where_no_name_stands_in_several_files(here: Path) -> None:
    for number in range(2):
        Path(f"cluster/part{number}").mkdir(parents=True)
        np.save(f"cluster/part{number}/w.npy", FULL)
        rank(number, w=FULL + number)
    said = "no name stands in several files, so that --combine has put nothing together"
    for way in ("pieces", "sum"):
        report = gradclip_cli.inspect("cluster", combine=way)
        assert {row.name for row in report.tensors} == {"part0.w", "part1.w"}
        assert said in report.notes
        assert said not in gradclip_cli.inspect("ranks", combine=way).notes
    assert said not in gradclip_cli.inspect("cluster").notes


def test_diff_says_what_was_combined_and_what_does_not_count(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4], b=FULL[0])
    shutil.copytree("ranks", "other")
    shutil.copytree("ranks/", "third")
    save_file({"w": FULL}, "whole.safetensors")
    Path("third/model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "rank0.safetensors", "b": "rank1.safetensors"}}'
    )
    put_together = ["b: copies in 2 files, counted once", "w: pieces in 2 files, put together"]
    for other in ("other", "whole.safetensors"):
        assert sorted(gradclip_cli.diff("ranks", other, combine="pieces").notes) == put_together
    notes = gradclip_cli.diff("ranks", "third", combine="pieces").notes
    assert "2 tensors not counted, superseded by another shard: b, w" in notes


# Any layout


@dataclass
class Ranks:
    """What files of ranks hold, and what they are together.

    `ways` say what tensors are to each other, `asks` whether nobody else can. Of pieces `cuts` has
    the axis and where each begins.
    """

    files: list[dict[str, Any]]
    whole: dict[str, Any]
    ways: list[str]
    asks: bool
    cuts: dict[str, tuple[int, list[int]]]

    def part_of(self, name: str, file: Mapping[str, Any], whole: Any) -> Any:
        """Give what a file should hold of a tensor that is this as a whole."""
        if name not in self.cuts:
            return whole
        axis, cuts = self.cuts[name]
        number = next(at for at, one in enumerate(self.files) if one is file)
        return np.split(whole, cuts, axis)[number]


@st.composite
def layouts(draw: st.DrawFn, kinds: Sequence[str] = (*WAYS, "alone")) -> Ranks:
    """Draw files of ranks: pieces along any axis, some of no size, copies and partial sums."""
    ranks = draw(st.integers(2, 5))
    found = Ranks([{} for _ in range(ranks)], {}, [], False, {})
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)):
        way = draw(st.sampled_from(kinds))
        shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
        dtype = draw(st.sampled_from(["f2", "f4", "f8"]))
        whole = numbers.standard_normal(shape).astype(dtype)
        parts = [whole for _ in range(ranks)]
        if way == "copies":
            found.asks |= whole.size == 1
        elif way == "pieces":
            axis = draw(st.integers(0, len(shape) - 1))
            bounds = st.integers(0, shape[axis])
            cuts = sorted(draw(st.lists(bounds, min_size=ranks - 1, max_size=ranks - 1)))
            found.cuts[name] = axis, cuts
            parts = np.split(whole, cuts, axis)
            found.asks |= sum(part.size > 0 for part in parts) > 1
        elif way in ("sum", "mean"):
            parts = [numbers.standard_normal(shape).astype(dtype) for _ in range(ranks)]
            total = np.sum([part.astype("f8") for part in parts], 0)
            whole = total / (ranks if way == "mean" else 1)
            found.asks = True
        holders = [draw(st.integers(0, ranks - 1))] if way == "alone" else range(ranks)
        for number in holders:
            found.files[number][name] = parts[number]
        found.ways.append(f"{name}={'pieces' if way == 'alone' else way}")
        found.whole[name] = whole
    first, *others = found.files
    if all(
        file.keys() == first.keys()
        and all(np.array_equal(file[name], first[name]) for name in first)
        for file in others
    ):  # they are copies as a whole
        found.asks &= all(values.size == 1 for values in first.values())
    return found


# Where the file of a rank at a step lies; a name for what has no step is that of one step alone.
STYLES = (
    "rank{rank}",
    "rank_{rank:05}",
    "dp0_tp{rank}",
    "cuda:{rank}",
    "mp_rank_{rank:02}_000/grads",
    "zero_pp_rank_{rank}_mp_rank_00",
    "ddp5.{rank}_gp1.0",
    "__{rank}_0",
    "step_{step}/rank{rank}",
    "rank{rank}/step_{step}",
    "rank{rank}_step{step}",
    "iter_{step:07}/mp_rank_{rank:02}/grads",
    "step={step}___rank={rank}",
    "rank_{rank}_groups_grads_{step}",
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_norm_is_right_or_the_option_is_asked_for(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("ranks")
    layout = data.draw(layouts())
    style = data.draw(st.sampled_from(STYLES))
    steps = data.draw(st.sampled_from([(1,), (9, 10)])) if "step" in style else (1,)
    # Folders that are numbered without a word for it may be layers.
    are_arrays = data.draw(st.booleans()) and "groups" not in style
    for step in steps:
        for number, file in enumerate(layout.files):
            path = str(place / style.format(rank=number, step=step))
            arrays = {
                name: np.ascontiguousarray(one * one.dtype.type(step)) for name, one in file.items()
            }
            os.makedirs(
                path.removesuffix("grads") if are_arrays else os.path.dirname(path), exist_ok=True
            )
            if not are_arrays:
                save_file(arrays, f"{path}.safetensors")
            for name, values in arrays.items() if are_arrays else ():
                np.save(f"{path.removesuffix('grads')}/{name}.npy", values)
    norm = math.hypot(*(float(np.linalg.norm(one.astype("f8"))) for one in layout.whole.values()))
    expected = [pytest.approx(norm * step, rel=3e-3) for step in steps]
    if len(steps) > 1:
        with pytest.raises(GradclipError, match=r"2 steps, .* not one gradient"):
            gradclip_cli.inspect(place, combine=layout.ways)
        found = [one.global_norm for one in gradclip_cli.trend(place, combine=layout.ways).steps]
        each = gradclip_cli.trend(sorted(place.iterdir()), combine=layout.ways)
        assert [one.global_norm for one in each.steps] == found
        plain: Any = lambda: gradclip_cli.trend(place).steps[0].global_norm  # noqa: E731
    else:
        found = [gradclip_cli.inspect(place, combine=layout.ways).global_norm]
        plain = lambda: gradclip_cli.inspect(place).global_norm  # noqa: E731
    assert found == expected
    if layout.asks:
        with pytest.raises(RepeatedNameError, match="also stands in") as caught:
            plain()
        assert "combine" in caught.value.hint
    else:
        assert plain() == found[0]


VALUES = st.floats(-1e300, 1e300)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=2, max_size=6))
def test_a_sum_is_rounded_nearly_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[float, ...]]
) -> None:
    place = tmp_path_factory.mktemp("sums")
    for number, part in enumerate(parts):
        rank(number, str(place), w=np.array(part))
    gradclip_cli.apply(place, clip_norm=1e308, combine="sum", output=place / "w.npy")
    for value, column in zip(np.load(place / "w.npy"), zip(*parts, strict=True), strict=True):
        total: Fraction = sum(map(Fraction, column), Fraction(0))
        largest = max(abs(Fraction(one)) for one in column)
        bound = max(abs(total), largest / 2**50) / 2**52 + Fraction(math.ulp(0.0))
        assert abs(Fraction(float(value)) - total) <= bound


# Every command


def test_it_is_clipped_into_one_file(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4])
    done = gradclip_cli.apply(
        "ranks", clip_norm=1.0, combine="pieces", output="clipped.safetensors"
    )
    assert done.clipped is not None
    expected = (FULL.astype("f8") * done.clipped.coefficient).astype("f4")
    assert np.array_equal(load_file("clipped.safetensors")["w"].reshape(8, 4), expected)


@pytest.mark.parametrize("kind", ["bit", "noise"])
def test_what_is_nearly_a_copy_is_no_piece_without_a_word(kind: str, here: Path) -> None:
    numbers = np.random.default_rng(3)
    norm = numbers.standard_normal(64).astype("f4")
    for number in range(4):
        mine = norm.copy()
        if kind == "noise":
            mine *= (1 + 1e-6 * numbers.standard_normal(64)).astype("f4")
        elif number == 2:
            mine.view("u4")[5] ^= 1 << 30
        rank(number, norm=mine, w=numbers.standard_normal((4, 8)), table=np.eye(1, 99, number))
    said = {"bit": r"a copy but for 1 of 64 values, at \[5\], bit 30", "noise": "64 of 64 values"}
    with pytest.raises(RepeatedNameError, match=rf"'norm' also .* {said[kind]}") as one:
        gradclip_cli.inspect("ranks", combine="pieces")
    assert one.value.hint.endswith(": combine='norm=copies' or 'norm=pieces'")
    for way in ("copies", "pieces"):
        report = gradclip_cli.inspect("ranks", combine=["pieces", f"norm={way}"])
        assert math.isfinite(report.global_norm)
        assert any("no copy" in note for note in report.notes) == (way == "copies")


def test_a_rank_that_is_missing_is_named(here: Path) -> None:
    for step in (1, 2, 3):
        for number in range(4):
            if (step, number) != (2, 3):
                rank(number, f"run/step-{step}", w=FULL[number])
    run = gradclip_cli.trend("run", combine="pieces")
    assert "step 2: fewer files than the 4 of others; is one missing?" in run.notes
    Path("run/step-1/rank2.safetensors").unlink()
    report = gradclip_cli.inspect("run/step-1", combine="pieces")
    assert "no file of rank 2: is it missing?" in report.notes
    assert not any(
        "no file" in one for one in gradclip_cli.inspect("run/step-3", combine="pieces").notes
    )


def test_single_values_of_which_two_are_equal_are_asked_for_beside_copies(here: Path) -> None:
    for number in range(4):
        rank(number, w=FULL, s=np.full(1, 3.5 + number % 2, "f4"))
    with pytest.raises(RepeatedNameError, match="tensor 's' also stands in"):
        gradclip_cli.inspect("ranks", combine="pieces")
    report = gradclip_cli.inspect("ranks", combine=["pieces", "s=pieces"])
    assert {row.name: row.norm for row in report.tensors} == {
        "w": exact(FULL),
        "s": exact([3.5, 4.5] * 2),
    }


def test_replicas_are_clipped_by_what_one_of_each_holds(here: Path) -> None:
    for number in range(6):  # three shards, each twice
        rank(number, w=FULL[number % 3], b=FULL[4], s=np.full(1, 2.5)[: number % 3 == 1])
    report = gradclip_cli.apply("ranks", clip_norm=1.0, combine="pieces", output="out/")
    assert report.clipped is not None
    whole = np.concatenate([FULL[:3].ravel(), FULL[4], [2.5]])
    assert report.clipped.norm_before == exact(whole)
    assert report.clipped.norm_after == pytest.approx(1, rel=1e-6)
    for number in range(6):
        for name, values in load_file(f"out/rank{number}.safetensors").items():
            given = load_file(f"ranks/rank{number}.safetensors")[name].astype("f8")
            expected = (given * report.clipped.coefficient).astype(values.dtype)
            assert np.array_equal(values, expected)


def test_sums_are_clipped_into_one_file_alone(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL + number, b=FULL[0])
    for way in ("sum", "mean"):
        for where in ({"output": "out/"}, {"in_place": True}, {"dry_run": True}):
            with untouched(here), pytest.raises(GradclipError) as caught:
                gradclip_cli.apply("ranks", clip_norm=1.0, combine=way, **where)
            assert f"is the {way} of what 2 files hold, none of which" in caught.value.problem
            assert caught.value.hint == "write one file: output clipped.safetensors"


def test_pieces_along_an_axis_that_nobody_knows_have_no_slices(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4])
    with pytest.raises(GradclipError, match="along which axis the pieces of 'w' lie"):
        gradclip_cli.inspect("ranks", combine="pieces", clip_norm=1, per_tensor=True, axes=1)
    rank(1, w=FULL[4:7])
    report = gradclip_cli.inspect("ranks", combine="pieces", clip_norm=1, per_tensor=True, axes=1)
    (row,) = report.tensors
    assert row.shape == (7, 4)


def test_checksums_of_pieces_are_verified(here: Path) -> None:
    Path("ranks").mkdir()
    for number in range(2):
        np.savez(f"ranks/rank{number}.npz", w=FULL[4 * number :][:4])
    path = Path("ranks/rank1.npz")
    raw = bytearray(path.read_bytes())
    raw[raw.index(FULL[4:].tobytes()) + 5] ^= 1
    path.write_bytes(raw)
    with untouched(here), pytest.raises(GradclipError, match="checksum"):
        gradclip_cli.apply("ranks", clip_norm=1.0, combine="pieces", output="out.safetensors")


def test_ranks_are_followed_step_by_step_and_kept_by_what_was_said(here: Path) -> None:
    for step in (9, 10, 100):
        for number in range(2):
            rank(number, f"run/step_{step:06d}", w=np.array([step + number], "f4"))
    pieces = gradclip_cli.trend("run", combine="pieces", cache="kept")
    assert [step.global_norm for step in pieces.steps] == [
        pytest.approx(math.hypot(step, step + 1)) for step in (9, 10, 100)
    ]
    sums = gradclip_cli.trend("run", combine="sum", cache="kept")
    assert [step.global_norm for step in sums.steps] == [19, 21, 201]
    again = gradclip_cli.trend("run", combine="pieces", cache="kept")
    assert [step.global_norm for step in again.steps] == [step.global_norm for step in pieces.steps]
    with pytest.raises(GradclipError) as caught:
        gradclip_cli.trend("run")
    assert "combine" in caught.value.hint


def test_ranks_are_compared_with_the_whole(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4, :3], b=FULL[0])
    shutil.copytree("ranks", "other")
    ranks = gradclip_cli.diff("ranks", "other", combine="w=pieces")
    assert ranks.same
    rank(1, "other", w=FULL[4:, :3] + 1, b=FULL[0])
    assert not gradclip_cli.diff("ranks", "other", combine="w=pieces").same


# The files of ranks, each in its place


def held(folder: str = "ranks") -> list[dict[str, Any]]:
    """Give what the files of ranks hold, in the order of their numbers."""
    return [load_file(path) for path in sorted(Path(folder).glob("rank*.safetensors"))]


def test_each_rank_is_clipped_in_its_own_file_by_the_joint_norm(here: Path) -> None:
    for number in range(4):
        rank(number, w=FULL[2 * number :][:2], b=FULL[0], n=np.arange(number))
    before = held()
    whole = float(np.linalg.norm(np.append(FULL.astype("f8"), FULL[0])))
    shutil.copytree("ranks", "again")
    ways = ["pieces", "n=pieces"]
    with untouched(here):
        tried = gradclip_cli.apply("ranks", clip_norm=1, combine=ways, dry_run=True)
        assert tried.clipped is not None
    with untouched(Path("ranks")):
        done = gradclip_cli.apply("ranks", clip_norm=1.0, combine=ways, output="ranks2/")
    assert done.clipped is not None
    assert done.global_norm == pytest.approx(whole, rel=1e-14)
    assert done.clipped.norm_after == pytest.approx(1.0, rel=1e-6)
    after = gradclip_cli.inspect("ranks2", combine=ways)
    assert after.global_norm == done.clipped.norm_after
    assert "b: copies in 4 files, counted once" in after.notes, "copies stay equal"
    for one, other in zip(before, held("ranks2"), strict=True):
        for name, values in one.items():
            scaled = (values.astype("f8") * done.clipped.coefficient).astype(values.dtype)
            expected = values if values.dtype == np.int64 else scaled
            assert np.array_equal(other[name], expected)
            assert other[name].dtype == values.dtype
    gradclip_cli.apply("again", clip_norm=1.0, combine=ways, in_place=True, backup=".orig")
    for number in range(4):
        name = f"rank{number}.safetensors"
        assert Path("again", name).read_bytes() == Path("ranks2", name).read_bytes()
        assert Path("again", f"{name}.orig").read_bytes() == Path("ranks", name).read_bytes()
    said = real("apply", "ranks", "--clip-norm", "1", "--combine", "pieces", "-o", "ranks2/")
    assert said.status == 2
    assert "exist" in said.err


def test_copies_that_differ_are_not_clipped_in_their_places(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL + number, v=FULL)
    before = {path: path.read_bytes() for path in Path("ranks").iterdir()}
    with pytest.raises(GradclipError, match="'w' has copies that differ from it") as caught:
        gradclip_cli.apply("ranks", combine="copies", clip_norm=1, in_place=True)
    assert caught.value.problem.endswith(
        "ranks/rank1.safetensors: 32 of 32 values, first at [0, 0]"
    )
    assert {path: path.read_bytes() for path in Path("ranks").iterdir()} == before
    gradclip_cli.apply("ranks", combine="copies", clip_norm=1, in_place=True, exclude="w")
    gradclip_cli.apply("ranks", combine="copies", clip_norm=1, output="one.safetensors")
    assert gradclip_cli.inspect("one.safetensors").global_norm == pytest.approx(1)


def test_slices_that_may_go_through_files_are_refused(here: Path) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][: 4 - number], b=FULL)
    wish: dict[str, Any] = {"clip_norm": 1, "per_tensor": True, "axes": 1, "output": "out/"}
    with untouched(here), pytest.raises(GradclipError, match="slices of 'w' may go through"):
        gradclip_cli.apply("ranks", combine="w=pieces", **wish)
    gradclip_cli.apply("ranks", exclude=["w"], combine="w=pieces", **wish)
    one, other = held("out")
    assert np.array_equal(one["b"], other["b"])
    assert np.linalg.norm(one["b"], axis=1) == pytest.approx(np.ones(8))


def test_parts_that_change_meanwhile_take_no_place(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        rank(number, w=FULL[4 * number :][:4])

    def meddling(*arguments: Any, **more: Any) -> Any:
        """Measure as if all parts held what the first does, as those of a file that is mapped."""
        found = measured(*arguments, **more)
        return dict.fromkeys(found, found[min(found)])

    monkeypatch.setattr("gradclip_cli.commands.parting.measured", meddling)
    with pytest.raises(GradclipError, match="changed while gradclip was reading it"):
        gradclip_cli.apply("ranks", clip_norm=1.0, combine="pieces", output="out/")
    assert not Path("out").exists()


RULES: dict[str, dict[str, Any]] = {
    "global": {"clip_norm": 2.0},
    "each tensor": {"clip_norm": 2.0, "per_tensor": True},
    "value": {"clip_value": 0.5},
    "root mean square": {"clip_rms": 0.25},
}


def by_numpy(rule: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a rule makes of whole tensors, in float64."""
    wide = {name: one.astype("f8") for name, one in tensors.items()}
    if rule == "value":
        return {name: np.clip(one, -0.5, 0.5) for name, one in wide.items()}
    norms = {name: float(np.linalg.norm(one)) for name, one in wide.items()}
    factors = {
        "global": dict.fromkeys(norms, min(1, 2 / math.hypot(*norms.values()))),
        "each tensor": {name: min(1, 2 / norm) for name, norm in norms.items()},
        "root mean square": {
            name: min(1, 0.25 * math.sqrt(wide[name].size) / norm) for name, norm in norms.items()
        },
    }[rule]
    return {name: one * factors[name] for name, one in wide.items()}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_rank_files_are_clipped_as_numpy_clips_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("clipped")
    layout = data.draw(layouts(["pieces", "copies", "alone"]))
    for number, file in enumerate(layout.files):
        rank(number, str(place / "ranks"), **file)
    rule = data.draw(st.sampled_from([*RULES]))
    done = gradclip_cli.apply(
        place / "ranks", combine=layout.ways, output=f"{place}/out/", **RULES[rule]
    )
    expected = by_numpy(rule, layout.whole)
    for one, other in zip(layout.files, held(f"{place}/out"), strict=True):
        assert other.keys() == one.keys()
        for name, values in one.items():
            part = layout.part_of(name, one, expected[name])
            assert other[name] == pytest.approx(part, rel=2e-3, abs=1e-4)
            assert (other[name].dtype, other[name].shape) == (values.dtype, values.shape)
    assert done.clipped is not None
    after = gradclip_cli.inspect(place / "out", combine=layout.ways)
    assert after.global_norm == pytest.approx(done.clipped.norm_after, rel=1e-12)


# Names that are aligned

WRAPPED: dict[str, Any] = {"strip_prefix": ["module."], "rename": [r"^net\.=", "gamma=weight"]}


def test_names_are_aligned_before_they_are_matched(here: Path) -> None:
    write(0, {"module.w": FULL[:4], "b": FULL[0], "module.alone": FULL})
    write(1, {"net.w": FULL[4:], "b": FULL[0]})
    assert len(gradclip_cli.inspect("ranks").tensors) == 4
    report = gradclip_cli.inspect("ranks", combine=["w=pieces"], **WRAPPED)
    assert {row.name: row.norm for row in report.tensors} == {
        "w": exact(FULL),
        "b": exact(FULL[0]),
        "module.alone": exact(FULL),
    }
    assert "w: names that are aligned, stored as module.w, net.w" in report.notes
    assert "no tensor matches --rename 'gamma=weight'" in report.notes
    gradclip_cli.apply(
        "ranks", combine="w=pieces", clip_norm=1.0, output="one.safetensors", **WRAPPED
    )
    assert load_file("one.safetensors").keys() == {"w", "b", "module.alone"}
    assert gradclip_cli.diff("ranks", "ranks", combine="w=pieces", **WRAPPED).same
    with pytest.raises(RepeatedNameError, match="'w' also stands in"):
        gradclip_cli.inspect("ranks", **WRAPPED)


def test_a_tensor_that_has_the_same_name_everywhere_keeps_it(here: Path) -> None:
    for number in range(2):
        write(number, {"module.w": FULL[4 * number :][:4]})
    report = gradclip_cli.inspect("ranks", combine="w=pieces", strip_prefix=["module."])
    assert [row.name for row in report.tensors] == ["module.w"]
    assert "no tensor matches --combine 'module.w=pieces'" in str(
        gradclip_cli.inspect("ranks", combine=["pieces", "module.w=pieces"], **WRAPPED).notes
    ), "patterns match aligned names"


def test_two_tensors_that_would_have_one_name_are_refused(here: Path) -> None:
    write(0, {"module.w": FULL, "w": FULL + 1})
    rank(1, b=FULL)
    with pytest.raises(GradclipError, match=r"'module\.w' and 'w' would both be called 'w'"):
        gradclip_cli.inspect("ranks", strip_prefix=["module."])
    rank(0, a=FULL[:4], x=FULL)
    rank(1, b=FULL[4:])
    with pytest.raises(GradclipError, match="two tensors would be called 'x'"):
        gradclip_cli.inspect("ranks", combine="x=pieces", rename=["^x$=y", "^[ab]$=x"])


def test_names_are_aligned_over_the_steps_of_a_run(here: Path) -> None:
    for step, name in ((1, "w"), (2, "module.w"), (3, "w")):
        write(step, {name: FULL * np.float32(step)}, "run")
    for number in (1, 2, 3):
        Path(f"run/rank{number}.safetensors").rename(f"run/step_{number}.safetensors")
    files = [f"run/step_{step}.safetensors" for step in (1, 2, 3)]
    plain = gradclip_cli.trend(files, cache="kept")
    assert "not all steps have the same tensors" in plain.notes
    for run in (files, files, ["run"]):
        found = gradclip_cli.trend(run, cache="kept", strip_prefix=["module."])
        assert "not all steps have the same tensors" not in found.notes
        assert {name for one in found.steps for name in one.measured.layout.names} == {"w"}
    assert "not all steps have the same tensors" in gradclip_cli.trend(files, cache="kept").notes
    for step in (1, 2, 3):
        done = gradclip("inspect", f"run/step_{step}.safetensors", "--format", "jsonl")
        Path(f"step_{step}.jsonl").write_bytes(done.stdout)
    reports = [f"step_{step}.jsonl" for step in (1, 2, 3)]
    found = gradclip_cli.trend(reports, strip_prefix=["module."], include=["w"])
    assert "not all steps have the same tensors" not in found.notes


def test_parameters_of_adaptive_clipping_are_found_by_aligned_names(here: Path) -> None:
    write(0, {"module.w": FULL})
    save_file({"w": FULL}, "weights.safetensors")
    file = "ranks/rank0.safetensors"
    with pytest.raises(GradclipError, match="have no parameter"):
        gradclip_cli.inspect(file, agc=0.1, params="weights.safetensors")
    told = gradclip_cli.inspect(
        file, agc=0.1, params="weights.safetensors", strip_prefix=["module."]
    )
    assert told.what_if
