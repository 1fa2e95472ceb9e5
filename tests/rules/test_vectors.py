"""Clipping by global norm against what the frameworks' own tests say and what they really return.

`vectors/clipping.json` restates the public test suites (`acceptance`) and holds what each installed
peer returned for an edge case (`recorded`). Every case stands in exactly one list: those below, and
`LEFT_OUT` of `tests.recorded`.
"""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest

import gradclip_cli
from gradclip_cli import GradclipError, RefusedError
from tests.dumps import (
    LANES,
    Stored,
    exact_norm,
    floats,
    lanes,
    read_npy,
    read_safetensors,
    write_npy,
    write_safetensors,
)
from tests.recorded import (
    CODES,
    LEFT_OUT,
    PEERS,
    Answer,
    Array,
    Vector,
    acceptance,
    array,
    contents,
    recorded_vector,
)

AGREES = (
    # acceptance
    *("tf-global-clipped", "tf-global-none", "tf-global-slices-shape", "tf-global-zero"),
    *("seed-0..9", "torch-arange-p2.0", "torch-empty", "optax-global-1/1", "optax-global-1/7"),
    *("keras-global", "mxnet-global", "mlx-small", "mindspore-doc"),
    *("torch-nonfinite-8--2e+22", "torch-nonfinite-9--2e+22", "torch-nonfinite-10--2e+22"),
    "torch-nonfinite-11--2e+22",
    # recorded
    *("seed_0..9", "normal_two", "equal_3_4", "just_above", "all_zeros", "empty_tensor_only"),
    *("scalar0d", "f16_noclip", "bf16_ones_1000", "bf16_noclip", "f64_3_4", "f32_1e-20_plus_1"),
    *("complex128", "mixed_f32_f64", "mixed_f32_f16", "mixed_bf16_f16", "eps_visible_1e-9"),
    *("None_entry", "use_norm_0.5"),
)
"""What the peers return, gradclip writes; the peers that give an answer agree with each other."""

REFUSED_BY_BOTH = (
    *("torch-nonfinite-0--inf", "torch-nonfinite-1--inf", "torch-nonfinite-2--inf"),
    *("torch-nonfinite-3--inf", "torch-nonfinite-5-nan", "torch-nonfinite-7-nan"),
    *("enf_nan", "mlx-negative"),
)
"""Where the peer raises an error (torch: with `error_if_nonfinite`), gradclip does."""

Does = Literal["clips", "refuses the limit", "refuses the norm", "refuses the gradients"]

OVERFLOW = "the peers square in the stored dtype, which overflows; gradclip squares in float64"
UNDERFLOW = "the peers square in the stored dtype, which underflows; gradclip squares in float64"
SCALED = "the squares overflow float64 itself; gradclip scales by a power of two first"
NOT_FINITE = (
    "the peers spread NaN or zeros over every tensor; gradclip refuses unless it is told to"
)
LIMIT = "a limit must be finite and above 0: every other one is a slip"
INTEGERS = "the peers raise an error for integers"

DIFFERS: dict[str, tuple[Does, str]] = {
    # acceptance: torch raises an error because the norm overflows to infinity
    "torch-nonfinite-12--2e+200": ("clips", SCALED),
    "torch-nonfinite-13--2e+200": ("clips", SCALED),
    "torch-nonfinite-14--2e+200": ("clips", SCALED),
    # recorded
    "nan_one": ("refuses the gradients", NOT_FINITE),
    "-inf_one": ("refuses the gradients", NOT_FINITE),
    "inf_bigclip": ("refuses the gradients", NOT_FINITE),
    "f16_60000": ("clips", OVERFLOW),
    "f16_ones_100000": ("clips", OVERFLOW),
    "f32_1e20": ("clips", OVERFLOW),
    "f32_two_1e19x": ("clips", OVERFLOW),
    "f32_max": ("clips", OVERFLOW),
    "enf_overflow_1e30": ("clips", OVERFLOW),
    "f16_small_1e-4": ("clips", UNDERFLOW),
    "f32_1e-23": ("clips", UNDERFLOW),
    "f64_1e-200": ("clips", UNDERFLOW + ", scaled by a power of two where that underflows, too"),
    "clip_tiny_1e-40": ("clips", "the peers flush subnormal limits or results to zero"),
    "clip_huge_1e39": ("clips", "the peers round the limit to the dtype: 1e39 becomes infinite"),
    "int64_plus_f32": ("clips", INTEGERS + "; beside floats they are counters and stay"),
    "uint8": ("clips", INTEGERS + "; alone they are gradients and become float64"),
    "clip0": ("refuses the limit", LIMIT),
    "clip_neg": ("refuses the limit", LIMIT),
    "clip_inf_zeros": ("refuses the limit", LIMIT),
    "use_norm_inf": ("refuses the norm", "a known norm must be finite and not negative"),
    "use_norm_neg": ("refuses the norm", "a known norm must be finite and not negative"),
}
"""Where gradclip differs on purpose: what it does, and why."""


OTHER_RULES = ("tf.clip_by_norm",)  # each tensor by its own norm
POLICY_PROPAGATE = {
    "nan_one": PEERS,
    "-inf_one": ("torch", "optax"),
    "inf_bigclip": ("torch", "optax"),
}
"""Where `--nonfinite propagate` gives what these peers give."""


# The file


def vector(name: str) -> Vector:
    case = acceptance().get(name)
    return recorded_vector(name) if case is None else acceptance_vector(case)


def acceptance_vector(case: dict[str, Any]) -> Vector:
    params, expect = case["params"], case["expect"]
    inputs = [
        given and array(given["dtype"], given["shape"], given["data"]) for given in case["inputs"]
    ]
    outputs = norm = None
    if "outputs" in expect:
        outputs = tuple(
            array(given.dtype, given.shape, data)
            for given, data in zip(inputs, expect["outputs"], strict=True)
            if given is not None
        )
    if "norm" in expect:
        norm = Array("float64", (), (expect["norm"],))
    return Vector(
        tuple(given for given in inputs if given is not None),
        float(params["clip_norm" if "clip_norm" in params else _limit_of(params)]),
        None,
        {case["op"]: Answer(norm, outputs)},
        case["rtol"],
        case["atol"],
    )


def _limit_of(params: dict[str, Any]) -> str:
    return "max_norm" if "max_norm" in params else "global_clipnorm"


# Clipping

INTEGER_CODES = {"int64": "I64", "uint8": "U8"}


def stored(given: Array) -> Stored:
    if given.dtype in INTEGER_CODES:
        size = 8 if given.dtype == "int64" else 1
        data = b"".join(int(value).to_bytes(size, "little") for value in given.values)
        return INTEGER_CODES[given.dtype], given.shape, data
    return floats(CODES[given.dtype], given.shape, given.values)


def clip(case: Vector, folder: Path, **options: Any) -> Answer:
    """Clip the inputs by gradclip; they are one file, or several where safetensors has no dtype."""
    target = folder / "out"
    if any(given.dtype == "complex128" for given in case.inputs):
        (given,) = case.inputs
        source = write_npy(folder / "in", floats("<c16", given.shape, given.values))
    else:
        tensors = {f"g{at}": stored(given) for at, given in enumerate(case.inputs)}
        source = write_safetensors(folder / "in", tensors)
    try:
        report = gradclip_cli.apply(
            source, clip_norm=case.limit, output=target, use_norm=case.use_norm, **options
        )
    except GradclipError:
        assert [path.name for path in folder.iterdir()] == ["in"], "nothing was written"
        raise
    if source.read_bytes().startswith(b"\x93NUMPY"):
        written = [read_npy(target).array]
    else:
        written = list(read_safetensors(target).tensors.values())
    assert report.clipped is not None
    return Answer(
        Array("float64", (), (report.clipped.norm_before,)),
        tuple(
            Array(given.dtype, shape, tuple(lanes((code, shape, data))))
            if code.lstrip("<") in LANES
            else given
            for given, (code, shape, data) in zip(case.inputs, written, strict=True)
            if code.lstrip("<") in LANES or stored(given) == (code, shape, data)
        ),
    )


def by_the_law(case: Vector) -> Answer:
    """Give what exact arithmetic says: the norm of what counts, `x * min(1, limit / norm)`."""
    counts = [given for given in case.inputs if "int" not in given.dtype] or list(case.inputs)
    norm = exact_norm(value for given in counts for value in given.values)
    coefficient = min(Fraction(1), Fraction(case.limit) / Fraction(norm)) if norm else Fraction(1)
    outputs = []
    for given in case.inputs:
        products = {value: Fraction(value) * coefficient for value in set(given.values)}
        rounded = {
            value: given.form.value(given.form.rounded(products[value])) for value in products
        }
        scaled = Array(given.dtype, given.shape, tuple(rounded[value] for value in given.values))
        outputs.append(scaled if given in counts else given)
    return Answer(Array("float64", (), (norm,)), tuple(outputs))


def agree(found: Answer, other: Answer, case: Vector, peer: str) -> bool:
    """Say whether two answers agree to within a few roundings of the other's dtypes.

    torch adds 1e-6 to the norm that it divides by. That is taken out of its answer first.
    """
    if other.outputs is None or found.outputs is None:
        return False
    if len(found.outputs) != len(other.outputs):
        return False
    taken_out = 1.0
    if peer == "torch" and other.norm is not None:
        (norm,) = other.norm.values
        if case.limit < norm + 1e-6 and 0 < norm < math.inf:
            taken_out = (norm + 1e-6) / norm
    pairs = list(zip(found.outputs, other.outputs, strict=True))
    if case.use_norm is None and found.norm is not None and other.norm is not None:
        pairs.append((found.norm, other.norm))
    for mine, theirs in pairs:
        factor = 1.0 if theirs is other.norm else taken_out
        tolerance = _epsilon(theirs) * 3 if case.tolerance is None else case.tolerance
        if mine.shape != theirs.shape:
            return False
        for value, expected in zip(mine.values, theirs.values, strict=True):
            if math.isnan(value) and math.isnan(expected):
                continue
            near = math.isclose(value, expected * factor, rel_tol=tolerance, abs_tol=case.absolute)
            if not near:
                return False
    return True


def _epsilon(given: Array) -> float:
    return 2.0**-given.form.fraction_bits if "int" not in given.dtype else sys.float_info.epsilon


# The tests


def test_every_case_stands_in_exactly_one_list() -> None:
    listed = Counter((*AGREES, *REFUSED_BY_BOTH, *DIFFERS))
    for names in LEFT_OUT.values():
        listed.update(names)

    in_file = Counter([case["id"] for case in contents()["acceptance"]])
    in_file.update(list(contents()["recorded"]))

    assert listed == in_file
    assert set(in_file.values()) == {1}


def test_every_answer_of_a_recorded_case_is_one_of_the_global_rule_or_left_out() -> None:
    for case in contents()["recorded"].values():
        assert set(case["res"]) <= {*PEERS, *OTHER_RULES}


def test_what_is_left_out_is_no_clipping_by_the_global_l2_norm() -> None:
    left_out = {name for names in LEFT_OUT.values() for name in names}
    of_the_rule = (
        *("tf.clip_by_global_norm", "torch.clip_grad_norm_", "optax.clip_by_global_norm"),
        *("keras.global_clipnorm", "mxnet.clip_global_norm", "mlx.clip_grad_norm"),
        "mindspore.clip_by_global_norm",
    )
    for name in left_out:
        case = acceptance().get(name)
        if case is None:
            assert "p" in contents()["recorded"][name]
        else:
            assert case["op"] not in of_the_rule or case["params"].get("norm_type", 2.0) != 2.0


@pytest.mark.parametrize("name", AGREES)
def test_gradclip_agrees_wherever_the_peers_do(tmp_path: Path, name: str) -> None:
    case = vector(name)

    found = clip(case, tmp_path)

    if name.startswith("torch-nonfinite"):  # the peer's test asks only that there is no error
        assert 2.0 in acceptance()[name]["expect"]["ok_for_norm_types"]
        assert agree(found, by_the_law(case), case, "law")
        return
    answers = {peer: some for peer, some in case.answers.items() if some.outputs is not None}
    assert answers
    wrong = [peer for peer, answer in answers.items() if not agree(found, answer, case, peer)]
    assert not wrong


@pytest.mark.parametrize("name", REFUSED_BY_BOTH)
def test_gradclip_refuses_what_the_peer_refuses(tmp_path: Path, name: str) -> None:
    case = vector(name)
    if name in acceptance():
        expect = acceptance()[name]["expect"]
        assert "error" in expect or 2.0 in expect["error_for_norm_types"]
    else:
        assert all("error" in result for result in contents()["recorded"][name]["res"].values())

    with pytest.raises(GradclipError if case.limit < 0 else RefusedError):
        clip(case, tmp_path)


@pytest.mark.parametrize(("name", "does"), [(name, does) for name, (does, _) in DIFFERS.items()])
def test_gradclip_differs_on_purpose(tmp_path: Path, name: str, does: Does) -> None:
    case = vector(name)

    if does == "clips":
        found = clip(case, tmp_path)
        law = by_the_law(case)
        assert found.norm is not None
        assert law.norm is not None
        assert found.norm.values == pytest.approx(law.norm.values, rel=1e-15)
        assert found.outputs is not None
        assert law.outputs is not None
        for mine, exact in zip(found.outputs, law.outputs, strict=True):
            pairs = set(zip(mine.values, exact.values, strict=True))
            # Of a dtype shorter than float64 this means that they are equal.
            assert all(math.isclose(value, other, rel_tol=4e-16) for value, other in pairs)
        if name in acceptance():
            assert 2.0 in acceptance()[name]["expect"]["error_for_norm_types"]
        # If this fails the peers have mended it: the case belongs to AGREES.
        assert not all(agree(found, answer, case, peer) for peer, answer in case.answers.items())
        return
    with pytest.raises(GradclipError) as error:
        clip(case, tmp_path)
    assert error.value.status == (1 if does == "refuses the gradients" else 2)
    assert isinstance(error.value, RefusedError) == (does == "refuses the gradients")
    subjects = {"refuses the limit": "clip_norm", "refuses the norm": "use_norm"}
    assert error.value.subject == subjects.get(does, str(tmp_path / "in"))
    assert any(answer.outputs is not None for answer in case.answers.values())


@pytest.mark.parametrize(("name", "peers"), POLICY_PROPAGATE.items())
def test_gradclip_propagates_what_is_not_finite_as_plain_arithmetic_does(
    tmp_path: Path, name: str, peers: Sequence[str]
) -> None:
    case = vector(name)

    found = clip(case, tmp_path, nonfinite="propagate")

    assert [peer for peer in case.answers if agree(found, case.answers[peer], case, peer)] == [
        *peers
    ]


def test_a_plain_integer_array_is_clipped_where_the_peers_raise_errors(tmp_path: Path) -> None:
    found = clip(vector("uint8"), tmp_path)

    assert found.outputs is not None
    assert [given.values for given in found.outputs] == [(3 * (1 / 5), 4 * (1 / 5))]
    assert read_safetensors(tmp_path / "out").tensors["g0"][0] == "F64"


def test_integers_beside_floats_stay_where_the_peers_raise_errors(tmp_path: Path) -> None:
    clip(vector("int64_plus_f32"), tmp_path)

    source, target = (read_safetensors(tmp_path / name).tensors for name in ("in", "out"))
    assert target["g0"] == source["g0"]
    assert lanes(target["g1"]) == [1.0]
