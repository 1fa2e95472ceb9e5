"""The norm over the steps of a run: spikes, what is not finite, the range, the limit."""

import itertools
import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from gradclip_cli.render.html import svg
from gradclip_cli.render.html.parts import Picture
from gradclip_cli.render.html.pictures import limited
from gradclip_cli.render.html.pictures.events import apart, numbers
from gradclip_cli.render.names import steps_shown
from gradclip_cli.render.picture import logarithm
from gradclip_cli.results.limiting import Limit
from gradclip_cli.results.phrases import called, number, percent
from gradclip_cli.results.story import story
from gradclip_cli.results.trend import Trend
from gradclip_cli.series.trajectory import Step
from gradclip_cli.tensors.names import escape, plural, shortened

_TOP, _HEIGHT, _FOOT = 46, 240, 22
_POINTS = 1000  # places across that can be told apart
_RINGS = 200
_LABELS = 8
_NAME = 60  # characters in what is read out
_NORM, _BLAMED = "#0f5c8c", "#b5460f"


def draw(found: Trend, limits: Sequence[Limit]) -> Picture | None:
    """Draw it."""
    if not found.steps:
        return None
    norms = [logarithm(step.global_norm) for step in found.steps]
    shown = [limit for limit in limits if limit.norm > 0]
    told = story(found)
    blamed = _norms_of(found.steps, told.culprit)
    limited_to = [math.log10(limit.norm) for limit in shown]
    axis = svg.axis_of([*norms, *blamed, *limited_to], _HEIGHT, _TOP)
    chart = _Chart(found.steps, norms, axis)
    placed = [(limit, axis.place(math.log10(limit.norm))) for limit in shown]
    lines = [
        axis.lines(),
        *chart.ranges(),
        *chart.blamed(blamed, told.culprit),
        *chart.norms(),
        limited.lines(placed),
    ]
    marks = [
        *chart.shifts(found),
        *chart.rings(),
        *chart.bad(),
        *chart.gaps(told.gaps),
        numbers(told.numbered, len(found.steps)),
        limited.words(placed, _TOP),
    ]
    height = _TOP + _HEIGHT + _FOOT
    drawn = svg.picture(
        height, _says(found, shown), svg.layer(height, *lines), *marks, chart.labels(height)
    )
    return Picture(
        "norms",
        "Global norm over the steps",
        _says(found, shown),
        drawn,
        [*chart.legend(), *limited.key(placed)],
        {
            "across": [_told(step) for step in found.steps],
            "top": _TOP,
            "height": _HEIGHT,
            "steps": True,
        },
        axis.beside(height),
    )


class _Chart:
    """Steps at equal distances, each in the middle of its part of the width."""

    def __init__(self, steps: Sequence[Step], norms: Sequence[float], axis: svg.Axis) -> None:
        self.steps, self._norms, self._axis = steps, norms, axis
        self._drawn: dict[str, tuple[Markup, str]] = {}
        self._mark("line", "norm", _NORM, "global norm")

    def across(self, place: int) -> float:
        """Give where a step is, as a part of the width."""
        return (place + 0.5) / len(self.steps)

    def legend(self) -> list[tuple[Markup, str]]:
        """Give the marks that were drawn."""
        return list(self._drawn.values())

    def _mark(self, shape: str, kind: str, colour: str, words: str) -> None:
        self._drawn[kind] = svg.key(shape, kind, colour), words

    def norms(self) -> Iterator[Markup]:
        """Draw the line, and its points where they are few."""
        points = self._points(self._norms)
        yield svg.line(svg.joined(points), "norm", _NORM, 1.8)
        if len(self.steps) <= 80:
            yield svg.dots([point for point in points if point], "norm", _NORM)

    def blamed(self, norms: Sequence[float], name: str | None) -> Iterator[Markup]:
        """Draw the norm of the tensor to blame, where it is finite and above zero."""
        if norms and (path := svg.joined(self._points(norms))):
            self._mark("dashes", "blamed", _BLAMED, f"norm of {shortened(called(name), _NAME)}")
            yield svg.line(path, "blamed", _BLAMED, 2.2, "7 4")

    def ranges(self) -> Iterator[Markup]:
        """Draw where a spike begins."""
        ends = [logarithm(step.threshold or math.nan) for step in self.steps]
        ends = [end if end <= self._axis.high else math.nan for end in ends]
        path = svg.joined(self._points(ends))
        if path:
            self._mark("dots", "range", "#8a93a1", "spikes are above this")
            yield svg.line(path, "range", "#8a93a1", 1.2, "2 3")

    def rings(self) -> Iterator[Markup]:
        """Draw rings round the spikes, the largest."""
        spikes = [place for place, step in enumerate(self.steps) if step.mark == "spike"]
        spikes.sort(key=lambda place: -self._norms[place])
        if spikes:
            marked = plural(len(spikes), "step is", "steps are")
            self._mark("ring", "spike", "#b5460f", f"{marked} marked as spikes")
        for place in spikes[:_RINGS]:
            yield svg.element(
                "circle",
                cx=svg.part(self.across(place)),
                cy=f"{self._axis.place(self._norms[place]):.1f}",
                r=6,
                class_="spike",
                fill="none",
                stroke="#b5460f",
                stroke_width=2,
            )

    def bad(self) -> Iterator[Markup]:
        """Mark at the upper edge what is not finite, and at the lower what is zero."""
        for kind, words, marks, sign, y in (
            ("bad", "not finite", ("nonfinite", "overflow"), "×", _TOP - 8),
            ("zero", "zero", ("zero",), "0", _TOP + _HEIGHT - 3),
        ):
            places = [place for place, step in enumerate(self.steps) if step.mark in marks]
            if not places:
                continue
            self._mark(sign, kind, "#b3261e", f"{words}: {plural(len(places), 'step')}")
            for place in apart(places, len(self.steps), 100):
                yield svg.element(
                    *("text", sign),
                    x=svg.part(self.across(place)),
                    y=y,
                    class_=kind,
                    fill="#b3261e",
                    text_anchor="middle",
                    font_weight="bold",
                    font_size=15,
                )

    def shifts(self, found: Trend) -> Iterator[Markup]:
        """Mark where the norm, or a tensor, left its range for good."""
        for place in found.left_at[:_LABELS]:
            self._mark("post", "shift", "#b5460f", "from here on out of its range for good")
            x = svg.part(self.across(place))
            yield svg.element(
                "line",
                x1=x,
                x2=x,
                y1=_TOP - 24,
                y2=_TOP + _HEIGHT,
                class_="shift",
                stroke="#b5460f",
                stroke_dasharray="1 3",
                stroke_width=1.5,
            )

    def gaps(self, gaps: Sequence[int]) -> Iterator[Markup]:
        """Mark where steps are missing, before the places of those that follow."""
        for place in gaps[:_RINGS]:
            self._mark("‖", "gap", "#5b6472", "steps are missing here")
            yield svg.element(
                *("text", "‖"),
                x=svg.part(place / len(self.steps)),
                y=_TOP + _HEIGHT + 4,
                class_="gap",
                fill="#5b6472",
                text_anchor="middle",
                font_weight="bold",
            )

    def labels(self, height: float) -> Markup:
        """Write the steps below."""
        places = [*svg.spread(len(self.steps), _LABELS)]
        names = steps_shown((self.steps[place].step for place in places), 24).names
        shares = map(self.across, places)
        return svg.below(list(zip(shares, names, strict=True)), height - 6)

    def _points(self, values: Sequence[float]) -> list[tuple[int, float] | None]:
        """Give points; where there are too many, the lowest and the highest of neighbours."""
        count = len(values)
        bins = min(count, _POINTS)
        points: list[tuple[int, float] | None] = []
        for begin, end in itertools.pairwise(count * bin_ // bins for bin_ in range(bins + 1)):
            finite = [place for place in range(begin, end) if math.isfinite(values[place])]
            if not finite:
                points.append(None)
                continue
            picks = {min(finite, key=values.__getitem__), max(finite, key=values.__getitem__)}
            for place in sorted(picks):
                y = min(self._axis.place(values[place]), _TOP + _HEIGHT)
                points.append((round(self.across(place) * svg.WIDE), y))
        return points


def _norms_of(steps: Sequence[Step], name: str | None) -> list[float]:
    """Give the logarithms of a tensor's norms; none where there is no tensor to blame."""
    if name is None:
        return []
    found = []
    for step in steps:
        measured = step.measured
        tensor = measured.layout.place_of.get(name)
        if tensor is None or tensor in measured.nonfinite:
            found.append(math.nan)
        else:
            found.append(logarithm(measured.norms[tensor]))
    return found


def _says(found: Trend, limits: Sequence[Limit]) -> str:
    norms = found.finite_norms
    said = f"{plural(len(found.steps), 'step')}, logarithmic"
    if norms:
        said += f"; norms from {number(min(norms))} to {number(max(norms))}"
    if not limits:
        said += "; without a limit: --clip-norm C draws one, --suggest finds one"
    return "; ".join([said, *map(limited.said, limits)])


def _told(step: Step) -> str:
    """Say what is read out of a step."""
    said = [f"step {escape(str(step.step))}", f"norm {number(step.global_norm, 6)}"]
    if step.mark:
        said.append(
            {"nonfinite": "not finite", "overflow": "beyond float64"}.get(step.mark, step.mark)
        )
    if step.worst is not None:
        name = shortened(called(step.worst), _NAME)
        said.append(f"{name} {percent(*step.worst_part)}" if step.share is not None else name)
    return " · ".join(said)
