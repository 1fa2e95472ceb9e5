"""Names are never cut where they differ: each can be read from what is shown of it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

import gradclip_cli
from gradclip_cli.render.grid import Column, grid
from gradclip_cli.render.names import broken, folded
from gradclip_cli.render.picture import row_name, rows_shown
from gradclip_cli.series.layers import heat
from gradclip_cli.tensors.names import escape
from tests.dumps import floats, write_safetensors
from tests.running import on_terminal
from tests.steps import write_steps

part = st.text("ab01._-/ é层\\\x1b", max_size=30) | st.text(max_size=8).filter(
    lambda text: "…" not in text  # by which the test finds what is left out
)
begins = st.sampled_from(["", "model.decoder.layers.", "base/" * 9, "x" * 50])
ends = st.sampled_from(["", ".weight", ".self_attention.q_proj.lora_A.weight", "y" * 50])
some_names = st.tuples(begins, st.lists(part, min_size=1, max_size=6, unique=True), ends).map(
    lambda made: [made[0] + middle + made[2] for middle in made[1]]
)


def joined(lines: Sequence[str]) -> str:
    """Put together a name from its lines, of which one that looks empty is a space."""
    return "".join([lines[0], *(line[2:] if line.strip() else " " for line in lines[1:])])


@settings(max_examples=300)
@given(some_names, st.integers(16, 80))
def test_each_name_is_read_from_its_row_and_the_head(names: list[str], width: int) -> None:
    made = grid("tensor", names, [], [""] * len(names), width)
    shared = joined(made.head.split("\n")).removeprefix("tensor").removeprefix(" ")
    begin, _, end = shared.rpartition("…")
    assert [f"{begin}{joined(row.split(chr(10)))}{end}" for row in made.rows] == [
        *map(escape, names)
    ]
    assert len({*made.rows}) == len(names)


@given(some_names, st.sampled_from([40, 60, 80, 160]), st.booleans())
def test_cells_stand_beside_names_or_below_and_nothing_is_wider(
    names: list[str], width: int, has_words: bool
) -> None:
    numbers = [f"{at}.000" for at in range(len(names))]
    columns = [Column("norm before", 0, numbers), Column("max |x|", 1, numbers)]
    words = [f"1,000 NaN, {at} +inf, 1,000 -inf" for at in range(len(names))]
    columns += [Column("not finite", 0, words, left=True)] if has_words else []
    made = grid("tensor", names, columns, [""] * len(names), width)
    for row, number, said in zip(made.rows, numbers, words, strict=True):
        first, *rest = row.split("\n")
        assert f" {number}" in first
        assert not has_words or said in " ".join([first, *(line.strip() for line in rest)])
    lines = [line for row in (made.head, *made.rows) for line in row.split("\n")]
    assert max(map(cell_len, lines)) <= width


def test_columns_go_before_digits_and_these_before_what_names_share() -> None:
    names = [f"model.layers.{n}.attention.weight" for n in range(3)]
    columns = [
        Column("norm", 0, ["4.295e+05"] * 3, fewer=lambda: ["4.3e+05"] * 3),
        Column("dtype", 1, ["float32"] * 3, left=True),
    ]

    def shown(width: int) -> list[str]:
        made = grid("tensor", names, columns, [""] * 3, width)
        return [made.head, made.rows[1]]

    whole = names[1]
    assert shown(51)[1] == f"{whole}  4.295e+05  float32"
    assert shown(50)[1] == f"{whole}  4.295e+05"
    assert shown(40)[1] == f"{whole}  4.3e+05"
    assert shown(39) == [
        "tensor                    norm  dtype\n  model.layers.…",
        "1.attention.weight   4.295e+05  float32",
    ]


@given(some_names)
def test_what_is_shown_is_the_name_but_for_what_all_share(names: list[str]) -> None:
    escaped = [*map(escape, names)]
    for tails in (False, True):
        shown = folded(escaped, tails)
        begin, _, end = shown.shared.rpartition("…")
        assert [f"{begin}{name}{end}" for name in shown.names] == escaped
        assert [*map(bool, shown.names)] == [*map(bool, escaped)], "none is left empty"
        assert len({*shown.names}) == len({*escaped})


@given(part.map(lambda name: escape(name or "x")), st.sampled_from([16, 24, 40]))
def test_a_name_that_goes_on_is_whole_and_fits(name: str, width: int) -> None:
    lines = broken(name, width)
    assert max(map(cell_len, lines)) <= width
    assert joined(lines) == name
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_steps_and_rows_of_the_picture_are_told_apart(tmp_path: Path, columns: int) -> None:
    layers = [f"base_model.model.decoder.layers.{n}.self_attention.q_proj" for n in range(4)]
    said = "-attempt-with-a-name-longer-than-its-column"
    for name in ("first", "second", "third"):
        stored = {layer: floats("F32", (1,), [1.0 + at]) for at, layer in enumerate(layers)}
        write_safetensors(tmp_path / f"the-{name}{said}.safetensors", stored)
    shown = on_terminal("trend", *sorted(os.listdir(tmp_path)), columns=columns, cwd=tmp_path)
    assert shown.status == 0
    assert max(map(cell_len, shown.lines)) <= columns
    begin = next(at for at, line in enumerate(shown.lines) if line.startswith("global norm"))
    rows = [
        line.split()[0] for line in shown.lines[2:begin] if re.match("first|second|third", line)
    ]
    assert rows == ["first", "second", "third"]
    assert "the-…" in "".join(shown.lines[:2])
    assert said in re.sub(r"\s", "", "".join(shown.lines[:3])), "what all share stands in the head"
    drawn = [line.split()[0] for line in shown.lines[begin + 1 :] if line.endswith(tuple("░▒▓█"))]
    assert len({*drawn}) == len(drawn) == 4
    axis = next(line for line in shown.lines[begin:] if line.startswith("step "))
    assert axis.split()[-1] == "third"


def test_the_rows_of_a_picture_are_whole_but_for_what_all_share(tmp_path: Path) -> None:
    steps = {f"model.decoder.layers.{n}.{part}": [1.0] for n in range(3) for part in ("q", "k.w")}
    run = gradclip_cli.trend(*write_steps(tmp_path, steps, steps))
    drawn = heat(run.steps, 24)
    shown = rows_shown(drawn, 12)
    begin, _, end = shown.shared.rpartition("…")
    assert [f"{begin}{name}{end}" for name in shown.names] == [row_name(row) for row in drawn.rows]
    assert begin == "model.decoder.layers."
    assert rows_shown(drawn, 60).shared == "", "names that fit stand whole"
