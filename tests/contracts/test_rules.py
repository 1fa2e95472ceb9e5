"""Every registered rule keeps the contract."""

import math
import os
from dataclasses import dataclass
from typing import Any

import pytest

from gradclip_cli import (
    ClipAdaptively,
    ClipByAverageNorm,
    ClipByGlobalNorm,
    ClipByGroupNorm,
    ClipByNorm,
    ClipByRms,
    ClipByValue,
    GradclipError,
    apply,
)
from gradclip_cli.options import flag_of
from gradclip_cli.rules.choosing import apart, needs, options
from gradclip_cli.rules.registry import rules
from gradclip_cli.rules.rule import Rule
from gradclip_cli.rules.terms import TERMS
from tests.contracts.rules import RuleContract


@dataclass(frozen=True)
class Example:
    """A rule, the options that choose it, and one of its kind that clips nothing here."""

    rule: Rule
    options: dict[str, Any]
    harmless: Rule


EXAMPLES = [
    Example(ClipByGlobalNorm(1.0), {"clip_norm": 1.0}, ClipByGlobalNorm(1e9)),
    Example(ClipByNorm(1.0), {"clip_norm": 1.0, "per_tensor": True}, ClipByNorm(1e9)),
    Example(
        ClipByGroupNorm(1.0, "1"),
        {"clip_norm": 1.0, "per_group": "1"},
        ClipByGroupNorm(1e9, "1"),
    ),
    Example(ClipByAverageNorm(0.1), {"clip_norm": 0.1, "average": True}, ClipByAverageNorm(1e9)),
    Example(ClipByValue(-2.0, 2.0), {"clip_value": "2"}, ClipByValue(-1e9, 1e9)),
    Example(ClipByRms(0.5), {"clip_rms": 0.5}, ClipByRms(1e9)),
    Example(ClipAdaptively(0.01), {"agc": 0.01, "params": "{params}"}, ClipAdaptively(1e9)),
]


def test_every_rule_has_an_example() -> None:
    assert [type(example.rule) for example in EXAMPLES] == rules()


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda example: type(example.rule).__name__, scope="class"
)
class TestEachRule(RuleContract):
    """The contract, for each rule of the registry."""

    @pytest.fixture(autouse=True)
    def _of_the_registry(self, example: Example) -> None:
        self.rule, self.harmless = example.rule, example.harmless
        self.chosen_by = tuple(example.options.items())


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (ClipByValue(5.0, -5.0), "the lower limit 5.0 is above the upper -5.0"),
        (ClipByValue(-1.0, math.nan), "is not a limit for values"),
        (ClipByValue(math.inf, math.inf), "is not a limit for values"),
        (ClipByValue(-math.inf, -math.inf), "is not a limit for values"),
        (ClipAdaptively(0.01, "rows", "params.npy"), "'rows' is not one of"),  # type: ignore[arg-type]
        (ClipByGroupNorm(1.0, "("), "per_group: "),
    ],
)
def test_an_object_is_held_to_what_its_options_are(rule: Rule, told: str) -> None:
    with pytest.raises(GradclipError, match=told):
        apply("sample_grads/zero-to-nine.npy", rule=rule, dry_run=True)


def test_parameters_are_found_by_any_kind_of_path() -> None:
    gradients = "sample_grads/step-20.safetensors"
    with os.scandir("sample_grads") as entries:
        params = next(entry for entry in entries if entry.name == "step-20.safetensors")
    report = apply(gradients, agc=0.01, params=params, dry_run=True)
    assert report == apply(gradients, agc=0.01, params=gradients, dry_run=True)


def test_the_limit_of_a_report_is_one_for_a_norm() -> None:
    limits = {type(example.rule).__name__: example.rule.norm_limit for example in EXAMPLES}
    assert limits == {
        "ClipByGlobalNorm": 1.0,
        "ClipByNorm": 1.0,
        "ClipByGroupNorm": 1.0,
        "ClipByAverageNorm": 0.1,
        "ClipByValue": None,
        "ClipByRms": None,
        "ClipAdaptively": None,
    }


def test_what_cannot_go_together_are_options_that_there_are() -> None:
    known = {flag_of(option.name) for option in (*options(), *TERMS)}
    assert {flag for pair in apart() for flag in pair} <= known
    assert {
        flag for pair in ((a, flag_of(n.option)) for a, n in needs().items()) for flag in pair
    } <= known


def test_no_two_options_that_need_each_other_are_kept_apart() -> None:
    kept = apart()
    for option, need in needs().items():
        other = flag_of(need.option)
        assert (option, other) not in kept
        assert (other, option) not in kept
