"""What a script asked of a result, answered: a status, and why."""

from collections.abc import Sequence

from gradclip_cli.errors import Status
from gradclip_cli.frozen import frozen


@frozen
class Gate:
    """An answer: the status, and why in a sentence.

    That is empty where there is nothing to add to what passed. A gate for a norm has the `limit`
    and the `tolerance` by which rounding explains that a norm is above it.
    """

    status: Status
    says: str = ""
    limit: float | None = None
    tolerance: float | None = None


def status(gates: Sequence[Gate]) -> Status:
    """Give the status that gates come to together: one that cannot judge is trouble, and wins."""
    return max((gate.status for gate in gates), default=Status.OK)
