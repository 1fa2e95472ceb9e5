"""Lines that fit a width: nothing is lost, and what is read as one is not torn apart."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradclip_cli.render.words import message, wrapped
from tests.running import on_terminal
from tests.steps import INF, NAN, write_steps

ONE = [
    *("98.6 %", "9.808 × the median", "× the median", "387,964 ×", "<0.1 %", "24 -inf", "2 NaN"),
    *("[0, 3]", "[1, 22, 333]", "step 16", "--clip-norm 14.9", "--exclude 'PATTERN'", "-o FILE"),
]
TORN = re.compile(r"\d$\n *([%×]|NaN|[+-]inf)|×( the)?$\n|step$\n *\d|\[[\d, ]*,$\n", re.MULTILINE)
pieces = st.lists(st.sampled_from([*ONE, "a", "norm", "model.layers.10.weight,"]), max_size=40)


@given(pieces, st.integers(30, 90), st.sampled_from([wrapped, message]))
def test_what_is_read_as_one_stays_together_and_the_text_as_it_is(
    some: list[str], width: int, write: Callable[[str, int], Iterator[str]]
) -> None:
    # With a unit behind its value an option may be wider than a line.
    some = [part for piece in some for part in ((piece, "a") if "14.9" in piece else (piece,))]
    text = " ".join(some)
    lines = list(write(text, width))
    assert max(map(len, lines)) <= width
    assert " ".join(line.strip() for line in lines) == text
    rest = [line.strip() for line in lines]
    for piece in some:
        while piece not in rest[0]:
            assert rest.pop(0) == "", f"{piece!r} is torn: {lines}"
        rest[0] = rest[0].partition(piece)[2].strip()


def test_where_there_is_too_little_room_it_is_broken_at_its_spaces() -> None:
    assert [*wrapped("--exclude 'a.very.long.PATTERN'", 26)] == [
        "--exclude",
        "  'a.very.long.PATTERN'",
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a run that leaves its range, explodes twice and ends."""
    folder = tmp_path_factory.mktemp("run")
    shares = [(3.0, 0.1)] * 12 + [(3.0, 90.0), (4.0, 4000.0), (90.0, 1.0), (80.0, 70.0)]
    steps = [{"rnn.weight": [a + at % 3, 1.0], "head": [b]} for at, (a, b) in enumerate(shares)]
    write_steps(folder, *steps, {"rnn.weight": [NAN, INF], "head": [-INF]})
    return folder


@pytest.mark.parametrize(
    "columns",
    [pytest.param(n, marks=[] if n % 4 == 0 else pytest.mark.heavy) for n in range(60, 100)],
)
def test_no_page_tears_it(run: Path, columns: int) -> None:
    paths = sorted(path.name for path in run.glob("*.safetensors"))
    shown = on_terminal("trend", *paths, columns=columns, cwd=run)
    text = "\n".join(shown.lines)
    assert shown.status == 0
    assert " × the median" in text
    assert TORN.search(text[text.index("norm from") :]) is None
