"""The tables of the house: which quarter stands on which, and where each library has its room.

`docs/architecture.md` is made from them, `test_architecture` holds the code to them.
"""

import ast
from pathlib import Path

import pytest

import gradclip_cli

PACKAGE = "gradclip_cli"
HOME = Path(gradclip_cli.__file__).parent

# From the top down: a quarter, or a file of the package's own, imports what stands below it alone.
FLOORS = (
    "__main__",
    "cli",
    "render",
    "",  # the package itself: its face, which names its functions and imports them when asked
    "commands",
    "results",
    "rules",
    "compare",
    "hypotheses",
    "series",
    "rewrite",
    "measure",
    "formats",
    "tensors",
    "files",
    "engine",
    "registry",
    "options",
    "errors",
    "frozen",
)
OWN_FILES = {"__init__", "__main__", "errors", "frozen", "options", "registry"}

# The only rooms, quarters or modules, in which a library or a module that can do harm is used.
ROOMS: dict[str, set[str]] = {
    "IPython": {"render.notebook"},
    "tensorstore": {"formats.zarr.reader"},
    "msgpack": {"formats.flax.reader"},
    "dask": {"engine.cluster"},
    "distributed": {"engine.cluster"},
    "h5py": {"formats.hdf5.reader"},
    "hdf5plugin": {"formats.hdf5.reader"},
    "fsspec": {"files.stores"},
    "aiohttp": {"files.stores"},
    "jinja2": {"render.html.document"},
    "markupsafe": {"render"},
    "matplotlib": {
        *("render.plots.axes", "render.plots.bars", "render.plots.comparison"),
        *("render.plots.explanation", "render.plots.file", "render.plots.heat"),
        *("render.plots.logarithms", "render.plots.norms", "render.plots.report"),
        *("render.plots.soundness", "render.plots.suggestion", "render.plots.trend"),
    },
    "pandas": {"render.frame"},
    "numpy": {
        *("commands.arrays", "commands.in_memory", "files.packed", "files.strided"),
        *(
            "formats.copies",
            "formats.hdf5.reader",
            "formats.npy",
            "formats.summed",
            "formats.zarr.reader",
        ),
        *("compare", "engine", "measure", "render.plots.heat", "rewrite", "rules"),
        *(
            "series.departures",
            "series.layers",
            "series.silence",
            "tensors.codecs",
            "tensors.narrow",
        ),
    },
    "regex": {"tensors.patterns"},
    "rich": {"render"},
    "safetensors": {"formats.safetensors"},
    "typer": {"cli"},
    "xxhash": {"measure.fingerprint"},
    # of the standard library
    "ast": {"formats.npy"},
    "concurrent": {
        "engine.crew",
        "files.looking",
        "files.objects",
        "files.stores",
        "files.uploads",
        "files.writing",
    },
    "fcntl": {"files.system"},
    "importlib": {
        *("", "cli.declared", "engine.cluster", "engine.versions", "formats.registry"),
        *("formats.zarr.reader", "registry"),
    },
    "json": {
        *(
            "formats.flax.reader",
            "formats.zarr.reader",
            "formats.foreign.child",
            "formats.foreign.helper",
        ),
        *("files.journal", "formats.safetensors", "formats.shards", "formats.strict_json"),
        *("render.delimited", "render.html.document", "render.json"),
        *("series.cache", "series.recorded"),
    },
    "resource": {"formats.foreign.child"},
    "signal": {
        *("__main__", "cli.boundary", "files.system"),
        *("formats.foreign.child", "formats.foreign.helper"),
    },
    "subprocess": {"formats.foreign.helper"},
    "tempfile": {"files.spools"},
    "socket": {"engine.cluster"},
    "time": {"engine.cluster", "render.notebook", "render.progress"},
    "traceback": {"cli.boundary"},
    "zipfile": {"files.members", "formats.archives", "formats.npz.arrays"},
    # nowhere
    **{
        name: set()
        for name in (
            *("click", "ctypes", "datetime", "mmap", "multiprocessing", "pathlib", "pickle"),
            *("random", "urllib"),
        )
    },
}

# What must not touch files, processes or the clock: numbers go in, and numbers or words come out.
PURE = {"compare", "hypotheses", "measure", "results", "rules"}
EFFECTS = {"fcntl", "io", "os", "shutil", "signal", "stat", "sys", "tempfile", "time"}
ALLOWED = {("compare.difference", "sys")}  # for the largest float alone

MOST_LINES = 350
MOST_PARAMETERS = 8


def module_of(path: Path) -> str:
    """Give a module's name within the package; the package itself has none."""
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_of(path): path for path in HOME.rglob("*.py")}
MODULES = {module: ast.parse(path.read_bytes()) for module, path in PATHS.items()}
by_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module or PACKAGE)
