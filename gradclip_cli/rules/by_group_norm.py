"""Each group of tensors by its joint norm; groups are made of names."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gradclip_cli.options import Need, Option
from gradclip_cli.rules.by_global_norm import CLIP_NORM, clip_by_norm
from gradclip_cli.rules.rule import Rule

if TYPE_CHECKING:
    from gradclip_cli.tensors.codecs import Floats
    from gradclip_cli.tensors.dump import Tensor

PER_GROUP = Option(
    "per_group",
    "--clip-norm limits each group's norm, as --group-by.",
    metavar="N|REGEX",
    group="Rule",
    needs=Need("clip_norm", "a limit for each group's norm", "give --clip-norm C as the rule"),
)


@dataclass(frozen=True, slots=True)
class ClipByGroupNorm(Rule):
    """Each group of tensors by its joint norm; `group_by` is as `groups.group_of` takes it.

    The tensors that a pattern does not match are one group.
    """

    clip_norm: float
    group_by: str

    word: ClassVar[str] = "per group"
    keys: ClassVar[tuple[str, ...]] = ("per_group",)
    told: ClassVar[str] = "each group by its own norm"
    limit: ClassVar[Option] = CLIP_NORM
    whose: ClassVar[Option] = PER_GROUP

    @classmethod
    def chosen(cls, given: Mapping[str, Any]) -> Self:
        """Make the rule of the options that were given."""
        return cls(given[CLIP_NORM.name], given[PER_GROUP.name])

    @property
    def limits(self) -> float:
        """The limit for each norm."""
        return self.clip_norm

    def check(self, like: str | None) -> None:
        """Raise `GradclipError` for a limit, or a pattern, that is none."""
        from gradclip_cli.tensors.groups import group_of

        Rule.check(self, like)
        group_of(self.group_by, PER_GROUP.flag)

    def cells(self, tensors: Sequence["Tensor"]) -> Sequence[Hashable]:
        """Give the group of each tensor."""
        from gradclip_cli.tensors.groups import group_of

        group = group_of(self.group_by, PER_GROUP.flag)
        return [group(tensor.name or "") for tensor in tensors]

    def called(self, cell: Any, tensor: "Tensor") -> str:
        """Say whose norm that of a cell is."""
        from gradclip_cli.tensors.names import quoted

        return f"the norm of group {quoted(cell)}"

    def coefficients(self, norms: Any, counts: Any, eps: float) -> "Floats":
        """Give each group's coefficient."""
        return clip_by_norm(norms, self.clip_norm, eps)

    def says(self) -> dict[str, Any]:
        """Give what a report says of it."""
        return {"per_group": self.group_by}
