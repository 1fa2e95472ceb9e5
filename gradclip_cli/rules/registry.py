"""The rules that there are: a line here, and the file that it names, is all that one takes."""

from gradclip_cli.registry import load
from gradclip_cli.rules.rule import Rule

RULES = [
    "gradclip_cli.rules.by_global_norm:ClipByGlobalNorm",
    "gradclip_cli.rules.by_tensor_norm:ClipByNorm",
    "gradclip_cli.rules.by_group_norm:ClipByGroupNorm",
    "gradclip_cli.rules.by_average_norm:ClipByAverageNorm",
    "gradclip_cli.rules.by_value:ClipByValue",
    "gradclip_cli.rules.by_rms:ClipByRms",
    "gradclip_cli.rules.adaptively:ClipAdaptively",
]


def rules() -> list[type[Rule]]:
    """Give the rules, in the order of the help."""
    return [load(name) for name in RULES]
