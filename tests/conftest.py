"""What every test module can ask for, and how hypothesis behaves."""

import functools

import pytest
from hypothesis import HealthCheck, settings

from tests.running import Run, run_here

# Two workers share the processors with whoever else is there: slowness is no failure.
settings.register_profile(
    "gradclip", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("gradclip")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Give the command line as a function, run in this process."""
    return functools.partial(run_here, capfd)
