"""Where `test_trend_pictures` still looks for its picture's page; it goes with that import."""

from tests.pages import TOP as TOP

README = TOP / "docs" / "runs.md"
