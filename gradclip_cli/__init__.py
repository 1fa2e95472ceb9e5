"""gradclip: inspect and clip gradients on disk, exactly.

>>> import gradclip_cli
>>> gradclip_cli.inspect("sample_grads/zero-to-nine.npy").global_norm
16.881943016134134
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradclip_cli.commands.apply import apply as apply
    from gradclip_cli.commands.check import Checked as Checked
    from gradclip_cli.commands.check import check as check
    from gradclip_cli.commands.diff import diff as diff
    from gradclip_cli.commands.inspect import inspect as inspect
    from gradclip_cli.commands.trend import trend as trend
    from gradclip_cli.errors import GradclipError as GradclipError
    from gradclip_cli.errors import RefusedError as RefusedError
    from gradclip_cli.results.comparison import Comparison as Comparison
    from gradclip_cli.results.report import Report as Report
    from gradclip_cli.series.findings import Trend as Trend
    from gradclip_cli.series.limits import Suggestion as Suggestion
    from gradclip_cli.series.limits import suggest as suggest
    from gradclip_cli.series.spikes import SpikeRule as SpikeRule

__version__ = "0.1.0"
__all__ = [
    "Checked",
    "Comparison",
    "GradclipError",
    "RefusedError",
    "Report",
    "SpikeRule",
    "Suggestion",
    "Trend",
    "__version__",
    "apply",
    "check",
    "diff",
    "inspect",
    "suggest",
    "trend",
]

_HOMES = {
    "Checked": "commands.check",
    "Comparison": "results.comparison",
    "GradclipError": "errors",
    "RefusedError": "errors",
    "Report": "results.report",
    "SpikeRule": "series.spikes",
    "Suggestion": "series.limits",
    "Trend": "series.findings",
    "apply": "commands.apply",
    "check": "commands.check",
    "diff": "commands.diff",
    "inspect": "commands.inspect",
    "suggest": "series.limits",
    "trend": "commands.trend",
}


def __getattr__(name: str) -> Any:
    # NumPy takes a tenth of a second to import, which `gradclip --help` must not pay for.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
