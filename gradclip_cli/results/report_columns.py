"""The columns of a report: of its tensors and groups, and what is further in the statistics."""

from collections.abc import Collection

from gradclip_cli.measure.statistics import STATISTICS
from gradclip_cli.results.columns import Column

COLUMNS = (
    Column("name", "name", "name of the tensor or group; in JSON exact", words="name"),
    Column("dtype", "dtype", "as stored", title="dtype", words="dtype", rank=3, left=True),
    Column("shape", "shape", "as stored", title="shape", words="shape", rank=4, left=True),
    Column("count", "count", "number of values"),
    Column(
        "norm",
        "norm",
        "L2 norm, or of `--norm-type`; `nan` or `inf` if a value is",
        title="norm",
        words="number",
    ),
    Column(
        "share",
        "share",
        r"part of the sum of squares (of \|x\|^p); empty if that is zero or not finite",
    ),
    Column("", "part", title="share", words="part"),
    Column("", "share", title="", words="bar", rank=2, left=True),
    Column("rms", "rms", "root mean square", title="rms", words="number", rank=6),
    Column(
        "max_abs",
        "moments.max_abs",
        "largest finite magnitude",
        title="max |x|",
        words="number",
        rank=1,
    ),
    Column(
        "max_abs_index",
        "max_abs_index",
        "where it is, the first in C order",
        title="at",
        words="index",
        rank=7,
    ),
    Column("zeros", "moments.zeros", "number of zeros", title="zeros", words="count", rank=5),
    Column("nan", "moments.nan", "number of NaN"),
    Column("posinf", "moments.posinf", "number of +inf"),
    Column("neginf", "moments.neginf", "number of -inf"),
    Column("", "bad", title="not finite", words="nonfinite", left=True),
    Column("first_nonfinite", "first_nonfinite", "where the first NaN or infinity is"),
    Column("finite_norm", "finite_norm", "norm of the finite values"),
    Column("measured", "measured", "whether the tensor counts"),
)

WEIGHED = (
    Column(
        "param_norm",
        "param_norm",
        "norm of the parameter of that name, in `--params`",
        title="param norm",
        words="number",
        rank=3,
    ),
    Column(
        "grad_to_param",
        "grad_to_param",
        "the gradient's norm over that; empty where that is zero or unknown",
        title="grad/param",
        words="number",
        rank=1,
    ),
)


def further(known: Collection[str]) -> tuple[Column, ...]:
    """Give the columns of the table of statistics; of what has to be asked for, if it is known."""
    return tuple(
        Column(one.name, f"further.{one.name}", one.doc, one.title or None, one.words, rank=8)
        for one in STATISTICS
        if not one.asked or one.name in known
    )
