"""gradclip: inspect and clip gradients on disk, exactly.

>>> import gradclip_cli
>>> gradclip_cli.inspect("sample_grads/zero-to-nine.npy").global_norm
16.881943016134134

What each command does is a function, which gives what the command prints:

- `inspect(*paths)`: how large gradients are, per tensor and together; a `Report`.
- `apply(*paths, clip_norm=C, output=PATH)`: clip them and write them; a `Report`.
- `diff(a, b)`: how two dumps differ; a `Comparison`.
- `trend(*steps)`: a run over its steps; a `Trend`.
- `suggest(trend)`: what limits would have done to its norms; a `Suggestion`.
- `check(*paths)`: whether files are sound; a `Soundness` of a `Checked` each.
- `explain(*paths, logged=X)`: how a trainer came to the norm X; an `Explanation`.

Arrays in memory are clipped by functions with TensorFlow's names and arguments:

- `clip_by_global_norm(t_list, clip_norm)` gives clipped arrays, and `global_norm(t_list)`.
- `clip_by_norm(t, clip_norm)`, `clip_by_average_norm(t, clip_norm)` and
  `clip_by_value(t, low, high)` give one array; `inspect({"name": array})` is a `Report`.

Of each result, `print` shows a screen, `repr` two lines, `says` the verdict, `to_dict` the JSON,
a notebook the parts of a page. `to_pandas` gives its rows as a DataFrame, `plot` draws it into
Matplotlib axes. What goes wrong is:

- `GradclipError`: what somebody can mend; it says what was found, and has a hint.
- `RefusedError`: a verdict on the gradients themselves: clipping them would give wrong numbers.

Rules of clipping, for `apply(rule=...)`:

- `ClipByGlobalNorm`, `ClipByNorm`, `ClipByGroupNorm`, `ClipByAverageNorm`: limits for norms of all
  tensors, of each, of groups, and for norms divided by the number of values.
- `ClipByRms`, `ClipByValue`, `ClipAdaptively`: limits for root mean squares, for values, and for
  each unit by its parameter (AGC).

Rules of spikes, for `trend(spike=...)`:

- `RangeRule`: above what the logarithms of the norms before lead to expect; the default.
- `SpikeRule`: above mean + deviations · σ of the norms before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradclip_cli.commands.apply import apply as apply
    from gradclip_cli.commands.check import check as check
    from gradclip_cli.commands.diff import diff as diff
    from gradclip_cli.commands.explain import explain as explain
    from gradclip_cli.commands.in_memory import clip_by_average_norm as clip_by_average_norm
    from gradclip_cli.commands.in_memory import clip_by_global_norm as clip_by_global_norm
    from gradclip_cli.commands.in_memory import clip_by_norm as clip_by_norm
    from gradclip_cli.commands.in_memory import clip_by_value as clip_by_value
    from gradclip_cli.commands.in_memory import global_norm as global_norm
    from gradclip_cli.commands.inspect import inspect as inspect
    from gradclip_cli.commands.trend import trend as trend
    from gradclip_cli.errors import GradclipError as GradclipError
    from gradclip_cli.errors import RefusedError as RefusedError
    from gradclip_cli.results.comparison import Comparison as Comparison
    from gradclip_cli.results.explanation import Explanation as Explanation
    from gradclip_cli.results.report import Report as Report
    from gradclip_cli.results.soundness import Checked as Checked
    from gradclip_cli.results.soundness import Soundness as Soundness
    from gradclip_cli.results.suggestion import Suggestion as Suggestion
    from gradclip_cli.results.suggestion import suggest as suggest
    from gradclip_cli.results.trend import Trend as Trend
    from gradclip_cli.rules.adaptively import ClipAdaptively as ClipAdaptively
    from gradclip_cli.rules.by_average_norm import ClipByAverageNorm as ClipByAverageNorm
    from gradclip_cli.rules.by_global_norm import ClipByGlobalNorm as ClipByGlobalNorm
    from gradclip_cli.rules.by_group_norm import ClipByGroupNorm as ClipByGroupNorm
    from gradclip_cli.rules.by_rms import ClipByRms as ClipByRms
    from gradclip_cli.rules.by_tensor_norm import ClipByNorm as ClipByNorm
    from gradclip_cli.rules.by_value import ClipByValue as ClipByValue
    from gradclip_cli.series.ranges import RangeRule as RangeRule
    from gradclip_cli.series.spikes import SpikeRule as SpikeRule

__version__ = "0.1.0"

_HOMES = {
    "Checked": "results.soundness",
    "ClipAdaptively": "rules.adaptively",
    "ClipByAverageNorm": "rules.by_average_norm",
    "ClipByGlobalNorm": "rules.by_global_norm",
    "ClipByGroupNorm": "rules.by_group_norm",
    "ClipByNorm": "rules.by_tensor_norm",
    "ClipByRms": "rules.by_rms",
    "ClipByValue": "rules.by_value",
    "Comparison": "results.comparison",
    "Explanation": "results.explanation",
    "GradclipError": "errors",
    "RefusedError": "errors",
    "Report": "results.report",
    "Soundness": "results.soundness",
    "RangeRule": "series.ranges",
    "SpikeRule": "series.spikes",
    "Suggestion": "results.suggestion",
    "Trend": "results.trend",
    "apply": "commands.apply",
    "check": "commands.check",
    "clip_by_average_norm": "commands.in_memory",
    "clip_by_global_norm": "commands.in_memory",
    "clip_by_norm": "commands.in_memory",
    "clip_by_value": "commands.in_memory",
    "global_norm": "commands.in_memory",
    "diff": "commands.diff",
    "explain": "commands.explain",
    "inspect": "commands.inspect",
    "suggest": "results.suggestion",
    "trend": "commands.trend",
}

_FUNCTIONS = (
    *("apply", "check", "diff", "explain", "inspect", "suggest", "trend"),
    *("clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "clip_by_value"),
    "global_norm",
)

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    # NumPy takes a tenth of a second to import, which `gradclip --help` must not pay for.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _FUNCTIONS:
        from gradclip_cli.commands.called import public

        found = public(found)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
