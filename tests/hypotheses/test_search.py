"""The search for what gives a logged number: what is tried, what is called likely, what is said."""

import json
import math
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import gradclip_cli
from gradclip_cli.formats.opening import open_file
from gradclip_cli.hypotheses.evidence import Counted, Evidence, Held, joint
from gradclip_cli.hypotheses.logged import Logged
from gradclip_cli.hypotheses.search import search
from gradclip_cli.hypotheses.table import HYPOTHESES
from gradclip_cli.measure.single import SUMS, summed_singly
from tests.running import TOP, Run, gradclip, on_terminal
from tests.written import plain

SAMPLE = str(TOP / "sample_grads/step-19.safetensors")

NORMS = [0.31, 0.92, 1.7, 2.45, 0.08, 3.3]


def evidence(*norms: float, largest: float = 0.5) -> Evidence:
    """Give what a dump of one file tells, with tensors of these norms."""
    return Evidence(
        tuple(
            Counted(f"layers.{at}.weight", norm, norm, largest * norm, 100, 2, (Held(0, norm),))
            for at, norm in enumerate(norms)
        ),
        ("full.safetensors",),
    )


def says(logged: str, known: Evidence) -> list[tuple[str, str]]:
    """Give what fits, and how likely it is."""
    return [(fit.account.says, fit.grade) for fit in search(Logged.of(logged), known).fits]


# What is printed


@given(st.floats(1e-30, 1e30), st.integers(1, 17))
def test_a_number_is_given_by_all_that_is_printed_so(value: float, digits: int) -> None:
    text = f"{value:.{digits - 1}e}"
    logged = Logged.of(text)
    assert logged.is_given_by(value, value)
    assert logged.low <= float(text) <= logged.high
    assert logged.high - logged.low <= max(10.0 ** (1 - digits), 2**-20) * float(text) * 1.01
    assert not logged.is_given_by(value * 3, value * 3)


def test_zeros_at_the_end_are_digits() -> None:
    assert Logged.of("7.20").high - Logged.of("7.20").low == pytest.approx(0.01)
    assert Logged.of("7.2").high - Logged.of("7.2").low == pytest.approx(0.1)
    assert Logged.of("1.0000e+09").high == 1.00005e9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("7,20", "'7,20' is not a number"),
        ("", "is empty"),
        ("seven", "'seven' is not a number"),
        ("-1.5", "-1.5 is not a norm"),
        ("1_0", "'1_0' is not a number"),
        ("sNaN", "'sNaN' is not a number"),
        ("9" * 500, "is not a number"),
    ],
)
def test_what_is_no_norm_is_refused_in_a_line(text: str, problem: str, run: Run) -> None:
    said = run("explain", SAMPLE, f"--logged={text}")
    assert (said.status, said.out) == (2, "")
    assert problem in said.err
    assert "hint: " in said.err


def test_the_number_must_be_given(run: Run) -> None:
    said = run("explain", SAMPLE)
    assert (said.status, said.out) == (2, "")
    assert "--logged: is missing" in said.err


# What fits


def test_the_norm_itself_is_all_that_is_said() -> None:
    known = evidence(*NORMS)
    assert says(f"{known.norm:.3f}", known) == [("", "likely")]
    assert says(repr(known.norm), known) == [("", "likely")]
    assert says(repr(float(np.float32(known.norm))), known) == [("", "likely")]


def test_two_hypotheses_are_put_together_and_the_simplest_comes_first() -> None:
    known = evidence(*NORMS)
    value = joint(NORMS) * 65536
    rounded = math.ldexp(round(math.ldexp(value, -11)), 11)  # seven digits would tell all
    assert says(repr(value), known)[0] == ("a loss scale of 2^16 left in", "likely")
    mean = sum(NORMS) / len(NORMS) / 65536
    assert says(f"{mean:.9g}", known)[0] == (
        "tensor norms averaged; a loss scale of 2^16 taken out, which the dump may still hold",
        "likely",
    )
    assert says(repr(rounded), known)[0][0] != ""


def test_not_finite_numbers_are_explained_by_what_is_not_finite_alone() -> None:
    assert says("nan", evidence(*NORMS)) == []
    assert says("inf", evidence(*NORMS)) == []
    assert says("nan", evidence(1.0, math.nan)) == [("", "likely")]
    assert says("inf", evidence(1.0, math.nan)) == []
    assert says("inf", evidence(1.0, math.inf)) == [("", "likely")]
    assert says("inf", evidence(1e30)) == [
        ("the sum of squares overflows float16", "likely"),
        ("the sum of squares overflows float32", "likely"),
    ]
    assert ("all squares vanish in float16", "likely") in says(
        "0.00000", evidence(1e-3, largest=0.1)
    )


def test_what_is_printed_as_0_may_be_anything_small() -> None:
    for logged in ("0", "0.0", "-0.00"):
        fits = says(logged, evidence(5.0, 3.0))
        assert fits
        assert {grade for _, grade in fits} == {"possible"}
    assert says("0.000", evidence(3e-5)) == [("", "possible")]
    assert says("0.000", evidence(0.0)) == [("", "likely")]


def test_a_dump_of_nothing_has_norm_zero() -> None:
    assert says("0.0", Evidence((), ("empty.safetensors",))) == [("", "likely")]
    assert says("1.234", Evidence((), ("empty.safetensors",))) == []


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("ranks", 10),
        *(
            pytest.param(kind, 50, marks=pytest.mark.heavy)
            for kind in ("tensors", "ranks", "copies")
        ),
    ],
)
def test_few_random_numbers_are_called_likely(kind: str, count: int) -> None:
    known = evidence(*NORMS)
    if kind != "tensors":
        known = Evidence(
            tuple(
                Counted(
                    f"layers.{at}.weight",
                    norm,
                    norm,
                    norm / 2,
                    100,
                    1 + at % 2,
                    tuple(Held(rank, norm if at % 2 else norm / 2) for rank in range(4)),
                    "copies" if kind == "copies" and at % 2 else "pieces",
                )
                for at, norm in enumerate(NORMS)
            ),
            tuple(f"rank{rank}" for rank in range(4)),
        )
    source = random.Random(7)
    draws: tuple[Callable[[], str], ...] = (
        lambda: f"{source.uniform(1, 10):.3f}",
        lambda: f"{source.uniform(0.2, 4) * known.norm:.4g}",
        lambda: f"{10 ** source.uniform(-4, 6):.4g}",
    )
    for draw in draws:
        found = [search(Logged.of(draw()), known).fits for _ in range(count)]
        likely = sum(any(fit.grade == "likely" for fit in fits) for fits in found)
        assert likely <= max(count / 20, 1)


def test_arithmetic_that_is_written_out_gives_the_number() -> None:
    experts = [
        Counted(f"layers.0.experts.{at}.w1", 1.0 + at, 1.0 + at, 0.5, 100, 2, (Held(at, 1.0 + at),))
        for at in range(2)
    ]
    shared = Counted("norm", 7.0, 7.0, 2.0, 50, 1, (Held(0, 7.0), Held(1, 7.0)), "copies")
    known = Evidence((*experts, shared), ("rank0", "rank1"), otherwise={"pieces": 3.5})
    written_out = re.compile(r"[0-9. +()/√×²−]+")
    words = {"√": "sqrt", "×": "*", "²": "**2", "−": "-"}
    done = set()
    for one in HYPOTHESES:
        for account in one.accounts(known) if not one.slow else ():
            text = re.sub("√([0-9]+)", r"√(\1)", account.arithmetic)
            for word, typed in words.items():
                text = text.replace(word, typed)
            if written_out.fullmatch(account.arithmetic):
                value = eval(text, {"sqrt": math.sqrt})
                assert value == pytest.approx(account.value, rel=1e-4), account
                done.add(account.says)
    assert "norms of 2 groups of experts averaged" in done
    assert len(done) > 20


def test_names_that_are_all_of_embeddings_are_not_tried_one_by_one() -> None:
    def tried(count: int) -> int:
        tensors = [
            Counted(f"text_embeddings.{at}.w", 1.0, 1.0, 0.5, 100, 2, (Held(0, 1.0),))
            for at in range(count)
        ]
        return search(Logged.of("123.4"), Evidence((*tensors,), ("full",))).alone

    assert tried(65) < tried(64) - 60


def test_every_factor_that_was_left_in_is_found() -> None:
    known = evidence(*NORMS)
    for power in (5, 16, 24):
        assert (f"a loss scale of 2^{power} left in", "likely") in says(
            f"{known.norm * 2**power:.6g}", known
        )
    for count in (2, 3, 7, 64):
        said = f"summed over {count} micro-batches, not averaged"
        assert (said, "likely") in says(f"{known.norm * count:.6g}", known)


# Sums in float32


def test_sums_in_float32_are_as_added_one_by_one(here: Path) -> None:
    values = np.random.default_rng(3).standard_normal(70_001).astype("f4")
    save_file({"w": values, "small": values[:9]}, "g.safetensors")
    tensor = open_file("g.safetensors", "").tensors[-1]
    found = summed_singly(tensor)
    assert found.keys() == set(SUMS)
    for sums in (1, 2, 16):
        totals = [np.float32(0)] * sums
        for at, value in enumerate(values):
            totals[at % sums] = np.float32(totals[at % sums] + np.float32(value * value))
        assert found[sums] == math.sqrt(math.fsum(map(float, totals)))


def test_what_float32_loses_is_explained_within_bounds(here: Path) -> None:
    # https://github.com/pytorch/pytorch/issues/15602: ones, of which a sum stands still at 2^24
    save_file({"w": np.ones(3 << 24, "f4")}, "ones.safetensors")
    found = gradclip_cli.explain("ones.safetensors", logged="5792.6")
    assert found.fits[0].hypotheses == ("float32",)
    assert found.fits[0].says == "squares summed in float32, in 2 sums a tensor"
    account = found.fits[0].account
    assert account.low < account.value < account.high
    assert found.explained


@pytest.mark.heavy
def test_what_torch_lost_of_100_million_values_is_explained(here: Path) -> None:
    # https://github.com/pytorch/pytorch/issues/68326: 9.2732 where 10.0005 is right
    values = np.random.default_rng(0).standard_normal(100_000_000, "f4")
    values /= 1000
    save_file({"x": values}, "x.safetensors")
    found = gradclip_cli.explain("x.safetensors", logged="9.2732")
    assert found.explained
    assert found.fits[0].hypotheses == ("float32",)


# What a person sees


def test_the_exact_norm_is_that_of_inspect_to_the_last_digit(here: Path) -> None:
    numbers = np.random.default_rng(6)
    for at in range(60):
        arrays = {f"w{at}": numbers.standard_normal(37) for at in range(40)}
        save_file(arrays, f"{at}.safetensors")
        found = gradclip_cli.explain(f"{at}.safetensors", logged="nan")
        assert found.norm == gradclip_cli.inspect(f"{at}.safetensors").global_norm


@pytest.mark.parametrize("logged", ["12.34", "245.3", "15.331", "1.0", "16075600", "nan", "0"])
def test_every_form_of_the_answer_tells_the_same(logged: str) -> None:
    found = gradclip_cli.explain(SAMPLE, logged=logged)
    said = json.loads(plain(found, "json"))
    assert (said["logged"], said["says"], said["status"]) == (logged, found.says, found.status)
    assert found.status == (0 if found.explained else 1)
    assert str(found).rstrip().endswith("step-19.safetensors")
    assert found.says in " ".join(str(found).split())


@pytest.mark.parametrize("width", [40, 80, 160])
def test_no_line_is_wider_than_the_terminal(width: int, here: Path) -> None:
    shutil.copy(SAMPLE, "grads.safetensors")
    shown = on_terminal(
        "explain", "grads.safetensors", "--logged", "7.665", columns=width, cwd=here
    )
    lines = shown.screen(40).display
    assert "explained" in "".join(lines)
    assert shown.raw.count("\n") == len([line for line in lines if line.strip()]) + 2


def test_copies_of_several_names_are_found_once_these_are_aligned(here: Path) -> None:
    values = np.arange(1, 26, dtype="f4")
    for rank, name in enumerate(("module.w", "_orig_mod.module.w", "w")):
        save_file({name: values, f"own.{rank}": values + rank}, f"rank{rank}.safetensors")
    prefixes = ["module.", "_orig_mod."]
    norm = gradclip_cli.inspect(".", strip_prefix=prefixes).global_norm
    assert gradclip_cli.explain(".", logged="1", strip_prefix=prefixes).norm == norm
    counted = f"{gradclip_cli.inspect('.').global_norm:.6g}"
    answer = gradclip_cli.explain(".", logged=counted, strip_prefix=prefixes)
    assert str(answer).count("copies counted 3 times") == 2


def test_a_pipe_is_read_once_and_explained() -> None:
    data = Path(SAMPLE).read_bytes()
    said = gradclip("explain", "--logged", "16075600", stdin=data)
    assert said.returncode == 0
    assert b"a loss scale of 2^16 left in" in said.stdout
