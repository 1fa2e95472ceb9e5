"""What rows can be sorted by; light, because the help needs it and not NumPy."""

from typing import Literal, get_args

Sort = Literal["name", "norm", "size", "max", "file"]

SORTS: tuple[Sort, ...] = get_args(Sort)
