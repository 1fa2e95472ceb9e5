"""Fingerprints of the tensors of a span, taken block by block."""

from gradclip_cli.measure.fingerprint import Fingerprint, of_each
from gradclip_cli.measure.spans import Span
from gradclip_cli.tensors.codecs import Stored


class Prints:
    """Takes the bytes of a span in blocks, the first of which begins with its value `first`."""

    def __init__(self, span: Span, first: int = 0) -> None:
        self._span = span
        self._each: list[int] = []
        self._one = Fingerprint(span.dtype, span.fortran_shape, span.start + first)

    def add(self, stored: Stored) -> None:
        """Take the next block; a span of small tensors has only one."""
        if self._span.small:
            self._each = of_each(stored, self._span.dtype, self._span.counts)
        else:
            self._one.add(stored)

    def totals(self) -> list[int]:
        """Give that of each tensor, as a number that adds up over its spans."""
        return self._each if self._span.small else [self._one.total()]
