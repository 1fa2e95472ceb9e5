"""What cannot be imported, as it is missing or one may not read it, is told in a line."""

import shutil
from pathlib import Path

import pytest

from tests.dumps import GRADS
from tests.running import TOP, one_error, ordinary_user, real


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Give a folder with a copy of the package, which is imported before any other."""
    shutil.copytree(
        TOP / "gradclip_cli", tmp_path / "gradclip_cli", ignore=lambda *_: ["__pycache__"]
    )
    (tmp_path / "a.npy").write_bytes(GRADS)
    return tmp_path


@pytest.mark.parametrize(
    "module",
    ["cli", "cli/app.py", "cli/inspect.py", "errors.py", "measure", "measure/gauge.py", "formats"],
)
def test_a_module_that_one_may_not_read_is_named(copied: Path, module: str) -> None:
    before = ordinary_user()
    place = copied / "gradclip_cli" / module
    place.chmod(0)
    try:
        said = real("inspect", "a.npy", before=before, cwd=copied)
    finally:
        place.chmod(0o755)
    assert (said.status, said.out) == (2, "")
    told = one_error(said.err)
    assert module in told or module.replace("/", ".") in told
    assert said.err.count("\n") == 2


@pytest.mark.parametrize("library", ["numpy", "typer"])
def test_a_library_that_cannot_be_imported_is_named(copied: Path, library: str) -> None:
    (copied / f"{library}.py").write_text(
        "try:\n    raise ImportError('libgone.so: cannot open')\n"
        "except ImportError as error:\n    raise ImportError('\\n\\nMuch to read\\n') from error\n"
    )
    said = real("inspect", "a.npy", cwd=copied)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err).startswith("gradclip: the installation is not whole: ")
    assert "libgone.so" in said.err or library == "typer"
    assert "install it anew: pip " in said.err
