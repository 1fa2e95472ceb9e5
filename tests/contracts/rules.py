"""What every rule must satisfy."""

import dataclasses
import math
import pickle
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as some

import gradclip_cli
from gradclip_cli.rules import choosing, terms
from gradclip_cli.rules.registry import rules
from gradclip_cli.rules.rule import Rule
from tests.dumps import floats, read_safetensors, write_safetensors

NORMS = some.floats(0, 1e300, allow_subnormal=False)


class RuleContract:
    """Inherit, and give a rule, the options that choose it, and one of its kind that clips nothing.

    All are about the dump that `dump` writes; options may name `{params}`, a dump of parameters.
    """

    rule: Rule
    chosen_by: tuple[tuple[str, Any], ...]
    harmless: Rule

    @pytest.fixture
    def dump(self, tmp_path: Path) -> Path:
        tensors = {
            "a.weight": floats("F32", (2, 2), [3, -4, 12, 84]),
            "b.bias": floats("F32", (2,), [-5, 12]),
        }
        write_safetensors(tmp_path / "params.safetensors", tensors)
        return write_safetensors(tmp_path / "dump.safetensors", tensors)

    @pytest.fixture
    def ready(self, dump: Path) -> Rule:
        params = str(dump.parent / "params.safetensors")
        held = {"params": params} if hasattr(self.rule, "params") else {}
        return dataclasses.replace(self.rule, **held)

    @pytest.fixture
    def given(self, dump: Path) -> dict[str, Any]:
        params = str(dump.parent / "params.safetensors")
        return {
            name: value.format(params=params) if isinstance(value, str) else value
            for name, value in self.chosen_by
        }

    def test_it_is_frozen_data_that_crosses_processes(self) -> None:
        field = dataclasses.fields(self.rule)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(self.rule, field, 1.0)
        assert pickle.loads(pickle.dumps(self.rule)) == self.rule

    def test_it_has_a_word_of_its_own(self) -> None:
        words = [rule.word for rule in rules()]
        assert words.count(self.rule.word) == 1

    def test_its_options_say_what_they_do_and_where_they_stand(self) -> None:
        for option in (self.rule.limit, self.rule.whose, *self.rule.further):
            if option is not None:
                assert option.group == "Rule"
                assert option.help.endswith(".")

    def test_its_file_imports_no_numpy(self) -> None:
        module = type(self.rule).__module__
        if module.startswith("tests."):
            return
        program = f"import sys, {module}; sys.exit('numpy' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

    def test_the_options_choose_it(self, given: dict[str, Any], ready: Rule) -> None:
        rule, about = choosing.chosen(None, given)
        assert rule == ready
        assert about.eps == rule.eps

    def test_the_object_and_the_options_write_the_same(
        self, dump: Path, given: dict[str, Any], ready: Rule, tmp_path: Path
    ) -> None:
        one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
        by_object = gradclip_cli.apply(dump, rule=ready, output=one)
        by_options = gradclip_cli.apply(dump, **given, output=other)
        assert one.read_bytes() == other.read_bytes() != dump.read_bytes()
        assert by_object == by_options
        assert by_object.ruling is not None
        assert by_object.ruling.rule == ready

    def test_an_object_does_not_go_with_options_of_rules(
        self, dump: Path, given: dict[str, Any], ready: Rule
    ) -> None:
        with pytest.raises(gradclip_cli.GradclipError, match="rule: cannot go with "):
            gradclip_cli.apply(dump, rule=ready, **given, dry_run=True)

    def test_no_value_grows_and_none_changes_its_sign(
        self, dump: Path, ready: Rule, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.safetensors"
        gradclip_cli.apply(dump, rule=ready, output=out)
        before, after = read_safetensors(dump).tensors, read_safetensors(out).tensors
        for name in before:
            old, new = (np.frombuffer(some[name][2], "<f4") for some in (before, after))
            assert (np.abs(new) <= np.abs(old)).all()
            assert (np.sign(new) == np.sign(old)).all()

    def test_what_is_within_the_limit_stays_byte_for_byte(
        self, dump: Path, ready: Rule, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.safetensors"
        held = {"params": ready.params} if hasattr(ready, "params") else {}
        gradclip_cli.apply(dump, rule=dataclasses.replace(self.harmless, **held), output=out)
        assert out.read_bytes() == dump.read_bytes()

    def test_clipping_again_changes_next_to_nothing(
        self, dump: Path, ready: Rule, tmp_path: Path
    ) -> None:
        once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
        gradclip_cli.apply(dump, rule=ready, output=once)
        gradclip_cli.apply(once, rule=ready, output=twice)
        assert gradclip_cli.diff(once, twice, rtol=1e-6).same

    def test_a_report_says_it_in_keys_of_its_own(self, ready: Rule) -> None:
        assert ready.says().keys() == set(ready.keys)
        assert ready.bound

    @hypothesis.settings(max_examples=50)
    @hypothesis.given(norms=some.lists(NORMS, min_size=1, max_size=5))
    def test_coefficients_are_at_most_one_and_order_as_norms_do(self, norms: list[float]) -> None:
        if self.rule.by != "cells":
            return
        found = self.rule.coefficients(norms, [4] * len(norms), 0.0).tolist()
        assert all(0 <= coefficient <= 1 for coefficient in found)
        order = sorted(range(len(norms)), key=norms.__getitem__)
        assert [found[at] for at in order] == sorted(found, reverse=True)

    def test_a_limit_that_is_none_is_refused(self, ready: Rule) -> None:
        field = dataclasses.fields(ready)[0].name
        for limit in (math.nan,) if ready.limits is None else (0.0, -1.0, math.inf, math.nan):
            with pytest.raises(gradclip_cli.GradclipError, match="is not a limit for"):
                choosing.chosen(dataclasses.replace(ready, **{field: limit}), {})

    def test_what_it_says_of_its_types_can_be_resolved(self) -> None:
        assert typing.get_type_hints(type(self.rule)).keys() >= {
            field.name for field in dataclasses.fields(self.rule)
        }

    def test_it_goes_only_with_frameworks_that_it_knows(self, ready: Rule) -> None:
        for like in terms.LIKE.choices:
            if like not in ready.frameworks:
                with pytest.raises(gradclip_cli.GradclipError, match="--like: "):
                    choosing.chosen(ready, {"like": like})
