"""gradclip: inspect and clip gradients on disk, exactly.

>>> import gradclip_cli
>>> gradclip_cli.inspect("sample_grads/zero-to-nine.npy").global_norm
16.881943016134134
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradclip_cli.applying import apply as apply
    from gradclip_cli.checking import Checked as Checked
    from gradclip_cli.checking import check as check
    from gradclip_cli.commands import inspect as inspect
    from gradclip_cli.comparison import Comparison as Comparison
    from gradclip_cli.diffing import diff as diff
    from gradclip_cli.errors import GradclipError as GradclipError
    from gradclip_cli.errors import RefusedError as RefusedError
    from gradclip_cli.findings import Trend as Trend
    from gradclip_cli.following import trend as trend
    from gradclip_cli.report import Report as Report
    from gradclip_cli.spikes import SpikeRule as SpikeRule
    from gradclip_cli.suggestion import Suggestion as Suggestion
    from gradclip_cli.suggestion import suggest as suggest

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
    "Checked": "checking",
    "Comparison": "comparison",
    "GradclipError": "errors",
    "RefusedError": "errors",
    "Report": "report",
    "SpikeRule": "spikes",
    "Suggestion": "suggestion",
    "Trend": "findings",
    "apply": "applying",
    "check": "checking",
    "diff": "diffing",
    "inspect": "commands",
    "suggest": "suggestion",
    "trend": "following",
}


def __getattr__(name: str) -> Any:
    # NumPy takes a tenth of a second to import, which `gradclip --help` must not pay for.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
