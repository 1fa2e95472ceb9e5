"""Data that nobody changes once it is made, at a price that 100,000 tensors can pay."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

Kind = TypeVar("Kind")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(kind: type[Kind]) -> type[Kind]:
    """Make a dataclass with slots that the type checker keeps from being changed.

    `dataclass(frozen=True)` keeps it at run time as well, and so takes five times as long to make
    one: `object.__setattr__` is called for every field.
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)


@dataclass_transform(frozen_default=True)
def constant(kind: type[Kind]) -> type[Kind]:
    """Make a dataclass for what stands in tables of the code: no two are compared, none printed.

    What it leaves out would take most of the time that a start spends on it.
    """
    return dataclass(eq=False, repr=False)(kind)
