"""Notebooks as people run them: cell by cell in a real kernel, and what becomes of each."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest


def needs(*modules: str) -> pytest.MarkDecorator:
    """Give a mark that skips a test where something is not installed, and says what."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_a_kernel = needs("nbclient", "ipykernel")

Messages = list[tuple[str, dict[str, Any]]]


def executed(notebook: Any, folder: Path) -> Messages:
    """Run a notebook in a folder, with its outputs put in; give all that the kernel sent of them.

    A cell that fails fails the test.
    """
    from nbclient import NotebookClient

    sent: Messages = []

    class Client(NotebookClient):  # type: ignore[misc]
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            sent.append((msg["msg_type"], msg["content"]))
            return super().process_message(msg, cell, cell_index)

    here = {"metadata": {"path": str(folder)}}
    Client(notebook, timeout=120, kernel_name="python3", resources=here).execute()
    return sent


def of_cells(cells: Sequence[str]) -> Any:
    """Give a notebook of these cells."""
    from nbformat.v4 import new_code_cell, new_notebook

    return new_notebook(cells=[new_code_cell(cell) for cell in cells])
