"""Endings by which names are known for kinds of files that gradclip does not write.

Those of gradclip's own formats, and of packages, are for the registry to know.
"""

from gradclip_cli.formats.shards import INDEX_SUFFIX
from gradclip_cli.tensors.names import ends_in

DUMPS = (
    ".pkl",
    ".pickle",
    ".joblib",
    ".keras",
    ".gguf",
    ".onnx",
    ".tflite",
    ".pb",
    ".zarr",
    ".mat",
    ".parquet",
    ".tfrecord",
    INDEX_SUFFIX,
)
"""Of other dumps: a file that is named so is meant as one, whatever is in it."""

REPORTS = (".json", ".jsonl", ".csv", ".tsv", ".md", ".html", ".txt", ".log")
"""Of texts, such as reports."""

PICTURES = (".png", ".svg", ".jpg", ".jpeg", ".pdf")

PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".tar", ".7z")
"""Of files that are packed."""


def foreign(path: str) -> str:
    """Give the ending by which a path is known for another kind of file; none is empty.

    >>> foreign("x.npz.GZ"), foreign("grads.step-20")
    ('.gz', '')
    """
    return next((one for one in (*DUMPS, *REPORTS, *PICTURES, *PACKED) if ends_in(path, one)), "")
