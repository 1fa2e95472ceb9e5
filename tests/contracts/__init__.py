"""What every format, rule, renderer and source must satisfy, run over all that are registered.

A contract is a class whose tests a test module inherits: for the members of a registry, and for the
toys, each of which stands in one module of this folder and nowhere else.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.contracts.{name}" for name in ("formats", "renderers", "rules", "sources"))
)
