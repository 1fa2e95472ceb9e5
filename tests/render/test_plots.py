"""`plot()` of each result: what a person wants to see of it, whatever the numbers and names are."""

import dataclasses
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gradclip_cli
from gradclip_cli.render.registry import PAGES, PLOTS
from gradclip_cli.results.columns import Result
from gradclip_cli.results.soundness import Checked, Soundness
from tests.render.test_pages_to_show import HOSTILE, STEPS
from tests.render.test_results_in_python import BAD, GOOD, RESULTS
from tests.render.test_trend_pictures import ODD
from tests.running import program
from tests.steps import INF, NAN, write_steps

pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing")


@pytest.fixture(autouse=True)
def _figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


def written(axes: Axes) -> str:
    """Draw the figure of some axes as an SVG whose texts can be read."""
    out = io.StringIO()
    figure: Any = axes.figure
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(out, format="svg")
    return out.getvalue()


def drawn(result: Result) -> Axes:
    """Plot a result and draw it."""
    axes = result.plot()
    assert isinstance(axes, Axes)
    assert "<svg" in written(axes)
    return axes


def names(axes: Axes) -> list[str]:
    """Give the names of bars, from the top down, each in one line."""
    return [label.get_text().replace("\n", "") for label in axes.get_yticklabels()]


def said(axes: Axes) -> list[str]:
    """Give what is written in the axes."""
    return [text.get_text() for text in axes.texts]


def bars(axes: Axes) -> list[float]:
    """Give how long the bars are, from the top down."""
    patches: list[Any] = [*axes.patches]
    return [patch.get_width() for patch in patches]


def inspected(folder: Path, tensors: dict[str, list[float]]) -> gradclip_cli.Report:
    """Measure a dump of some tensors."""
    return gradclip_cli.inspect(*write_steps(folder, tensors))


def test_each_kind_of_result_that_has_a_page_has_a_plot() -> None:
    assert PLOTS.keys() == PAGES.keys()


@pytest.mark.parametrize("name", RESULTS)
def test_a_plot_is_of_new_axes_below_the_verdict_or_of_those_given(name: str) -> None:
    result = RESULTS[name][1]()
    figure: Any = drawn(result).figure
    assert " ".join(figure.get_suptitle().split()) == result.says
    own = Figure().subplots()
    assert result.plot(own) is own
    assert own.get_title() == ""
    assert result.plot(axes=own) is own


def test_a_dump_shows_the_norms_of_its_tensors_the_worst_first(tmp_path: Path) -> None:
    report = inspected(tmp_path, {"a": [3.0, 4.0], "b": [10.0], "c": [0.0]})
    axes = drawn(report)
    assert names(axes) == ["b", "a", "c"]
    assert bars(axes) == [10, 5, 0]
    assert said(axes) == ["10.00 · 80.0 %", "5.000 · 20.0 %", "0 · 0.0 %"]
    assert axes.get_xlabel() == "L2 norm"


def test_norms_that_differ_much_are_drawn_as_logarithms(tmp_path: Path) -> None:
    axes = drawn(inspected(tmp_path, {"a": [1.0], "b": [1e4], "c": [1e2]}))
    first, second, third = bars(axes)
    assert first - second == pytest.approx(second - third) == 2
    marks = [label.get_text() for label in axes.get_xticklabels()]
    assert marks == [f"$10^{{{power}}}$" for power in range(5)]


def test_what_is_not_finite_is_marked_and_says_so(tmp_path: Path) -> None:
    tensors = {"a": [NAN, 1.0], "b": [INF, -INF], "c": [2.0], "d": [1e308] * 4}
    axes = drawn(inspected(tmp_path, tensors))
    words = dict(zip(names(axes), said(axes), strict=True))
    assert words["a"] == "not finite: 1 NaN"
    assert words["b"] == "not finite: 1 +inf, 1 -inf"
    assert words["c"].startswith("2.000")
    assert {*names(axes)[:2]} == {"a", "b"}, "though there are larger numbers"


def test_of_many_tensors_the_worst_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    report = inspected(tmp_path, {f"model.layers.{n}.w": [1.0 + n] for n in range(40)})
    axes = drawn(report)
    assert names(axes) == [f"{n}.w" for n in range(39, 23, -1)]
    assert axes.get_ylabel() == "model.layers.…"
    assert axes.get_xlabel() == "L2 norm, the worst 16 of 40 tensors"


def test_a_run_shows_its_norms_its_spikes_and_the_limit() -> None:
    axes = drawn(gradclip_cli.trend(*STEPS, clip_norm=5.0))
    lines: dict[str, Any] = {str(line.get_label()): line for line in axes.lines}
    norms = [10**height for height in lines["global norm"].get_ydata()]
    assert norms == pytest.approx([step.global_norm for step in gradclip_cli.trend(*STEPS).steps])
    (limit,) = {*lines["limit 5 clips 45.5 %"].get_ydata()}
    assert 10**limit == pytest.approx(5)
    assert "leaves its range for good" in lines
    assert [label.get_text() for label in axes.get_xticklabels()][:2] == ["10", "11"]


def test_two_dumps_show_which_tensor_differs_most(tmp_path: Path) -> None:
    a, b = write_steps(
        tmp_path,
        {"a": [1.0], "b": [1.0], "c": [1.0], "same": [1.0], "gone": [1.0]},
        {"a": [1.5], "b": [3.0], "c": [NAN], "same": [1.0]},
    )
    axes = drawn(gradclip_cli.diff(a, b))
    words = dict(zip(names(axes), said(axes), strict=True))
    assert {*names(axes)[:2]} == {"c", "gone"}
    assert names(axes)[2:] == ["b", "a", "same"]
    assert words == {
        "c": "1 newly not finite",
        "gone": "only in A",
        "b": "2.000",
        "a": "0.5000",
        "same": "identical",
    }
    assert names(drawn(gradclip_cli.diff(GOOD, BAD)))[0] == "rnn.weight_hh_l0"


def test_a_suggestion_shows_what_each_limit_clips() -> None:
    found = gradclip_cli.suggest(gradclip_cli.trend(*STEPS))
    axes = drawn(found)
    (line,) = [line for line in axes.lines if line.get_label() == "a limit"]
    data: Any = line.get_data()
    points = {*zip(*data, strict=True)}
    fixed = [one for one in found.candidates if one.limit is not None]
    assert points == {(math.log10(one.limit or 0), 100 * one.clipped) for one in fixed}
    legend: Any = axes.get_legend()
    assert "recommended: 2.04 clips 54.5 %" in [text.get_text() for text in legend.get_texts()]
    told = {word for text in said(axes) for word in re.split(", |\n", text)}
    assert {"p50", "p90", "1.0", "5.0", "AutoClip", "ZClip", "skip spikes"} <= told


def test_an_explanation_stands_beside_the_logged_number() -> None:
    axes = drawn(gradclip_cli.explain(GOOD, logged="16075600"))
    assert names(axes) == ["logged", "exact norm", "a loss scale of 2^16 left in"]
    assert said(axes) == ["16075600", "245.2942", "1.607560e+07 · likely"]
    logged, exact, fit = bars(axes)
    assert logged == pytest.approx(fit)
    assert exact < logged
    axes = drawn(gradclip_cli.explain(GOOD, logged="nan"))
    assert (names(axes)[0], said(axes)[0]) == ("logged", "nan")
    assert bars(axes)[0] > bars(axes)[1] > 0


def test_files_show_what_is_wrong_with_them(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(GOOD).read_bytes()[:5000])
    axes = drawn(gradclip_cli.check(GOOD, cut))
    assert names(axes)[0].endswith("cut.safetensors")
    assert said(axes)[0].startswith("bad: truncated: 6,532 of 11,532 bytes")
    assert said(axes)[1] == "sound: 6 tensors"
    assert axes.get_xlabel() == "bytes; 1 sound, 1 bad"


# Whatever comes


@pytest.mark.parametrize("name", ODD)
def test_no_odd_run_breaks_a_plot(name: str, tmp_path: Path) -> None:
    steps = write_steps(tmp_path / "run", *ODD[name])
    trend = gradclip_cli.trend(*steps)
    drawn(trend)
    drawn(gradclip_cli.suggest(trend))
    drawn(gradclip_cli.inspect(steps[0]))
    drawn(gradclip_cli.diff(steps[0], steps[-1]))
    drawn(gradclip_cli.check(*steps))
    if any(ODD[name][0].values()):
        drawn(gradclip_cli.explain(steps[0], logged="1.234"))


def test_names_are_data_and_no_mathematics(tmp_path: Path) -> None:
    odd = ("$a_b$", r"$\frac{", "x%y_z^2", *HOSTILE)
    report = inspected(tmp_path, {name: [1.0 + place] for place, name in enumerate(odd)})
    axes = drawn(report)
    for text in (*axes.get_yticklabels(), *axes.texts, axes.xaxis.label, axes.yaxis.label):
        assert not text.get_parse_math()
        assert not text.get_usetex()
    shown = names(axes)
    assert {"$a_b$", r"$\\frac{", "x%y_z^2", HOSTILE[0], r"weight\u202e\x1b[31m"} <= {*shown}
    assert ">$a_b$<" in written(axes)
    assert all(text.isprintable() for text in shown)
    assert max(map(len, shown)) <= 108


def test_no_name_is_tex_where_a_person_has_all_texts_set_in_tex(tmp_path: Path) -> None:
    report = inspected(tmp_path, {r"\input{/etc/hosts}": [1.0], "b_": [2.0]})
    with matplotlib.rc_context({"text.usetex": True}):
        axes = report.plot(Figure().subplots())
    assert not any(text.get_usetex() for text in (*axes.get_yticklabels(), *axes.texts))


def test_names_are_not_cut_where_they_differ(tmp_path: Path) -> None:
    long = [f"{'a' * 200}{n}{'a' * 200}" for n in range(3)]
    axes = drawn(inspected(tmp_path, {name: [1.0] for name in [*long, "b" * 300]}))
    shown = names(axes)
    assert len({*shown}) == 4
    assert {*long} < {*shown}
    assert min(map(len, shown)) == 108


def test_what_is_said_of_files_is_printable() -> None:
    files = (Checked("a\x1b[31m", problem="holds \x1b[31m and \udcff"), Checked("b", "npy", 1, 8))
    axes = drawn(Soundness(files))
    assert (names(axes)[0], said(axes)[0]) == (r"a\x1b[31m", r"bad: holds \x1b[31m and \udcff")
    figure: Any = axes.figure
    assert r"the first a\x1b[31m: holds \x1b[31m and \udcff" in figure.get_suptitle()


def test_a_tensor_without_a_name_is_called_so(tmp_path: Path) -> None:
    report = inspected(tmp_path, {"a": [1.0]})
    row = dataclasses.replace(report.rows[0], name=None)
    assert names(drawn(report.with_rows([row]))) == ["the unnamed tensor"]


def test_a_clipped_dump_says_that_the_norms_are_those_before() -> None:
    found = gradclip_cli.apply(BAD, clip_norm=5, dry_run=True)
    assert drawn(found).get_xlabel() == "L2 norm before clipping"
    assert drawn(gradclip_cli.inspect(BAD, norm_type=3)).get_xlabel() == "L3 norm"


def test_without_matplotlib_the_way_to_it_is_told(tmp_path: Path) -> None:
    text = (
        "import sys; sys.modules['matplotlib'] = None; import gradclip_cli\n"
        "try: gradclip_cli.inspect(sys.argv[1]).plot()\n"
        "except gradclip_cli.GradclipError as error: print(error)"
    )
    assert program(text, BAD).out.splitlines() == [
        "plot: needs Matplotlib, which is not installed",
        "hint: install it: pip install 'gradclip-cli[plot]'",
    ]


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    text = (
        "import sys, gradclip_cli; found = gradclip_cli.inspect(sys.argv[1]); repr(found)\n"
        "print({'matplotlib', 'pandas', 'jinja2', 'IPython', 'rich'} & {*sys.modules})"
    )
    assert program(text, BAD).out == "set()\n"
