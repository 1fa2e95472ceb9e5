"""Files as bars: the bad ones with what is wrong, then the sound ones with what they hold."""

from typing import TYPE_CHECKING

from gradclip_cli.render.plots import bars
from gradclip_cli.render.plots.axes import empty
from gradclip_cli.results.soundness import Checked, Soundness
from gradclip_cli.tensors.names import escape, plural

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(axes: "Axes", found: Soundness) -> float:
    """Draw the sizes of files, bad ones first; give the height in inches."""
    files = sorted(found.files, key=lambda file: file.sound)
    shown = files[: bars.MOST]
    if not shown:
        return empty(axes, "no file was looked at")
    names = bars.named([escape(file.label) for file in shown])
    bad = sum(not file.sound for file in files)
    along = f"bytes; {len(files) - bad:,} sound, {bad:,} bad"
    along += f", the first {len(shown):,} shown" if len(shown) < len(files) else ""
    drawn = [_bar(*one) for one in zip(names.names, shown, strict=True)]
    return bars.draw(axes, drawn, along, names.shared)


def _bar(name: str, file: Checked) -> bars.Bar:
    if file.problem is not None:
        return bars.Bar(name, None, f"bad: {file.problem}", is_bad=True)
    held = "sound" if file.tensors is None else f"sound: {plural(file.tensors, 'tensor')}"
    odd = f", odd: {'; '.join(file.strays)}" if file.strays else ""
    return bars.Bar(name, float(file.size or 0), f"{held}{odd}")
