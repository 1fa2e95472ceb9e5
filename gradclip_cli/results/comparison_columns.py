"""The columns of a comparison."""

from gradclip_cli.results.columns import Column, Sheet

COLUMNS = (
    Column("name", "name", "name of the tensor", words="name"),
    Column(
        "state",
        "state",
        "`identical`, `equal`, `dtype`: the same numbers in another dtype, `differs`, `shape`, "
        "`only_a`, `only_b`, `unreadable`; in the last row the verdict",
    ),
    Column("dtype_a", "a.dtype.name", "dtype in A"),
    Column("dtype_b", "b.dtype.name", "dtype in B"),
    Column("shape_a", "a.shape", "shape in A"),
    Column("shape_b", "b.shape", "shape in B"),
    Column("", "shape", title="shape", words="shape", rank=6, left=True),
    Column("count", "count", "number of values"),
    Column("norm_a", "moments_a.norm", "norm in A", title="norm A", words="number", rank=4),
    Column("norm_b", "moments_b.norm", "norm in B", title="norm B", words="number", rank=3),
    Column("ratio", "difference.ratio", "norm of B to that of A", title="B/A", words="ratio"),
    Column(
        "cosine",
        "difference.cosine",
        "cosine of the angle between A and B",
        title="cosine",
        words="cosine",
        rank=1,
    ),
    Column(
        "relative_error",
        "difference.relative_error",
        "‖B − A‖ / ‖A‖",
        title="error",
        words="number",
    ),
    Column(
        "max_abs_diff",
        "difference.gap.max_abs",
        "largest difference of two values",
        title="max |B-A|",
        words="number",
        rank=2,
    ),
    Column(
        "max_abs_diff_index",
        "max_abs_at",
        "where it is, the first in C order",
        title="at",
        words="index",
        rank=7,
    ),
    Column("changed", "changed", "number of values stored differently"),
    Column("", "changed_of", title="changed", words="all_of", rank=5),
    Column("", "remark", title="", left=True),
    Column("newly_nonfinite", "difference.newly", "number of values not finite in B alone"),
    Column("first_newly_nonfinite", "first_newly", "where the first of them is"),
    Column("nonfinite_differ", "difference.astray", "number not finite otherwise than in A"),
    Column("nonfinite_a", "moments_a.nonfinite", "number of NaN and infinities in A"),
    Column("nonfinite_b", "moments_b.nonfinite", "number of NaN and infinities in B"),
    Column("problem", "problem", "why a file is `unreadable`"),
)
SHEET = Sheet("comparison", COLUMNS, "tensor", {"tensor": "tensors"})
