"""A store for the tests of what lies in one."""

from collections.abc import Iterator

import pytest

from tests.stores import Store, served


@pytest.fixture(scope="session")
def _store() -> Iterator[Store]:
    with served() as store:
        yield store


@pytest.fixture
def store(_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Give the store, empty, and let gradclip find it."""
    for name, value in _store.environment.items():
        monkeypatch.setenv(name, value)
    _store.empty()
    yield _store
    _store.proxy.forget()
