"""What every test module can ask for, and how hypothesis behaves."""

import functools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.running import Run, run_here

# Two workers share the processors with whoever else is there: slowness is no failure.
settings.register_profile(
    "gradclip", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("gradclip")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of cases that are `alike` keep one of so many plain: the others are heavy."""
    seen: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("alike")
        if marker is not None:
            name = item.nodeid.partition("[")[0]
            if seen[name] % marker.args[0]:
                item.add_marker(pytest.mark.heavy)
            seen[name] += 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Give the command line as a function, run in this process."""
    return functools.partial(run_here, capfd)
