"""What every test module can ask for, and how hypothesis behaves."""

import pytest

from tests.running import Run, run_here


@pytest.fixture
def gradclip(capfd: pytest.CaptureFixture[str]) -> Run:
    """Give the command line as a function, run in this process."""
    return lambda *arguments: run_here(capfd, *arguments)
