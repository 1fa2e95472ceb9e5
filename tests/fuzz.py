"""Damaged files on which gradclip and the reference must agree: `python -m tests.fuzz`.

Other kinds have laws of their own, in `fuzz_archives`, `fuzz_kept` and `fuzz_calls`.

The reference is the safetensors library, or `numpy.load` without pickle. The laws: gradclip raises
nothing but `GradclipError`, soon, with little memory and no warning; it takes no file that the
reference refuses; of a file that both take they say the same; and where gradclip alone refuses,
the reason stands in a table below. A file that breaks a law is printed with what repeats it.
"""

import argparse
import base64
import itertools
import math
import random
import re
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.formats.folders import find
from gradclip_cli.tensors.dump import Tensor
from tests import fuzz_archives, fuzz_calls, fuzz_kept
from tests.dumps import LANES, SCALES, exact_norm, lanes
from tests.findings import REFUSED, TAKEN, Finding, check_fit, fresh, nothing_else
from tests.mutants import mutant

Found = list[tuple[str | None, str, tuple[int, ...], bytes]]
"""Name, dtype, shape and bytes of each tensor, as a reader gives them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the reference finds in a file, and the values of which the norm is to be taken."""

    tensors: Found
    gradient: list[float]


SAFETENSORS_CODES = {
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
    "bool": "BOOL",
    "complex64": "C64",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float6_e2m3fn": "F6_E2M3",
    "float6_e3m2fn": "F6_E3M2",
    "float4_e2m1fn": "F4",
}
CODES = LANES.keys() | {SCALES}
INTEGERS = {f"{letter}{bits}" for letter in "IU" for bits in (8, 16, 32, 64)}

MEMORY = 4 << 30  # of address space, with all libraries
VALUES = 1_000  # of how many values at most the norm is compared


@dataclass(frozen=True, slots=True)
class Reason:
    """Why gradclip refuses what the reference takes: its message, and what then is in the file."""

    why: str
    message: str
    content: str = ""

    def explains(self, problem: str, raw: bytes) -> bool:
        """Say whether a message and a file are of this kind."""
        return bool(
            re.match(self.message, problem) and re.search(self.content, raw.decode("latin-1"))
        )


STRICTER_THAN_SAFETENSORS = [
    Reason(
        "of a key that stands there twice the last wins, elsewhere the first",
        "the safetensors header says '.*' twice",
    ),
    Reason(
        "no framework has arrays of so many dimensions",
        "tensor '.*': [0-9,]+ dimensions are more than the limit of 64",
    ),
]
_NOT_READ = "the array's dtype is {}, which is not a number that gradclip reads"
STRICTER_THAN_NUMPY = [
    Reason(
        "np.load reads the first array of a file and says nothing of the rest",
        "[0-9,]+ bytes follow the last tensor",
    ),
    Reason(
        "bytes without a meaning have no norm",
        "the array's dtype is .*: bytes without a meaning",
    ),
    Reason(
        "a long double is of another size and form on each machine",
        _NOT_READ.format(r"'[<>|=]?(f16|c32|g|G|longdouble|clongdouble)'"),
    ),
    Reason(
        "text, bytes and dates are no numbers",
        _NOT_READ.format(
            r"'[<>|=]?(c|[SUVMma].*|datetime64.*|timedelta64.*|bytes.*|str.*|void.*)'"
        ),
    ),
    Reason(
        "a record, a sub-array and a type that is no string are no numbers",
        _NOT_READ.format(r"((?!').*|'.*[,(:{].*'|'[<>|=]?[0-9].*')"),
    ),
    Reason(
        "of a key that stands there twice the last wins",
        r"the \.npy header says '.*' twice",
    ),
    Reason(
        "a carriage return at the end means that line ends were converted",
        "the .npy header ends in a carriage return",
        r"\r",
    ),
    Reason(
        "no writer pads a header with line ends, of which parsers differ",
        "the .npy header is not a plain Python dict",
        r"\}\s*\n[ \t\f]+|[\n\f\r]\{",
    ),
]
_OF_ML_DTYPES = re.compile(rb"'([<>|=]?f1|bfloat16|float[468]_e[0-9a-z]+)'")
TAKES_NEGATIVE = np.lib.NumpyVersion(np.__version__) < "2.3.0"
if TAKES_NEGATIVE:
    STRICTER_THAN_NUMPY.append(
        Reason(
            "before NumPy 2.3 a length below zero is taken for as many values as there are",
            r"the \.npy header says the shape is \(.*-[0-9].*\)",
        )
    )
STRICTER = {"npy": STRICTER_THAN_NUMPY, "safetensors": STRICTER_THAN_SAFETENSORS}

KINDS: dict[str, Callable[[random.Random, Path], str]] = {
    "cache": fuzz_kept.with_damaged_cache,
    "report": fuzz_kept.with_damaged_report,
    "journal": fuzz_kept.with_damaged_journal,
    "arguments": fuzz_calls.with_arguments,
    "processes": fuzz_calls.with_processes,
    "calls": fuzz_calls.with_calls,
    **fuzz_archives.KINDS,
}
"""What else is fuzzed: a function that makes a case and gives a word for what came of it."""

# All that the library finds and gradclip's own rules do not: half a surrogate pair in metadata.
LEFT_TO_THE_LIBRARY = "unexpected end of hex escape"

# The two readers


def by_safetensors(path: Path) -> Seen | None:
    """Read a file as the safetensors library does; None where it refuses."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            parts = {name: file.get_slice(name) for name in file.offset_keys()}
            told = {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
        read = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError:
        return None
    assert told == {name: (part["dtype"], part["shape"]) for name, part in read}
    found: Found = sorted(
        (name, part["dtype"], tuple(part["shape"]), bytes(part["data"])) for name, part in read
    )
    codes = {code for _, code, _, _ in found}
    chosen = INTEGERS if codes & INTEGERS and codes <= INTEGERS | {"BOOL"} else CODES
    numbers = [
        number
        for _, code, shape, data in found
        if code in chosen
        for number in _numbers(code, shape, data)
    ]
    return Seen(found, numbers)


def _numbers(code: str, shape: tuple[int, ...], data: bytes) -> Iterable[float]:
    if code in CODES:
        return lanes((code, shape, data))
    return map(float, np.frombuffer(data, f"<{code[0].lower()}{int(code[1:]) // 8}").tolist())


def by_numpy(path: Path) -> Seen | None:
    """Read a file as NumPy does without pickle; None where it refuses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = np.load(path, allow_pickle=False)
    except Exception:
        return None
    found: Found = [(path.stem, array.dtype.name, array.shape, array.tobytes("A"))]
    if array.dtype.kind not in "fciu" or array.dtype.itemsize > 16:
        return Seen(found, [])
    numbers = map(complex, array.ravel().tolist())
    if array.dtype.kind != "c":
        return Seen(found, [number.real for number in numbers])
    return Seen(found, [lane for number in numbers for lane in (number.real, number.imag)])


def tensors(path: Path) -> tuple[Tensor, ...]:
    """Give the tensors of a file, as gradclip finds them."""
    return find([str(path)]).open().tensors


def bytes_of(tensor: Tensor, raw: bytes) -> bytes:
    """Give what stands in a file where gradclip says that a tensor lies."""
    assert 0 <= tensor.offset <= tensor.offset + tensor.size <= len(raw)
    return raw[tensor.offset : tensor.offset + tensor.size]


def located(path: Path, raw: bytes) -> Found:
    """Read a file at the places that gradclip gives; raises `GradclipError` where it refuses."""
    is_npy = path.suffix == ".npy"
    return sorted(
        (
            tensor.name,
            tensor.dtype.name if is_npy else SAFETENSORS_CODES[tensor.dtype.name],
            tensor.shape,
            bytes_of(tensor, raw),
        )
        for tensor in tensors(path)
    )


REFERENCES = {".npy": by_numpy, ".safetensors": by_safetensors}


# The laws


def compare(path: Path, raw: bytes, stricter: Sequence[Reason]) -> str:
    """Hold one file to the laws; give a word for what came of it, or raise `Finding`."""
    expected = REFERENCES[path.suffix](fresh(path, raw))
    try:
        with nothing_else():
            found = located(path, raw)
            report = gradclip_cli.inspect(path, workers=1)
    except GradclipError as error:
        return _refused(error, expected, raw, stricter)
    if expected is None:
        if path.suffix == ".npy" and _OF_ML_DTYPES.search(raw):
            return "a word of ml_dtypes, which NumPy learns from it"
        raise Finding("taken, and the reference refuses it")
    if found != expected.tensors:
        raise Finding(f"found {found}, the reference {expected.tensors}")
    rows = sorted((row.name or "", row.shape or ()) for row in report.tensors)
    if rows != [(name or "", shape) for name, _, shape, _ in found]:
        raise Finding(f"found {found}, reported {rows}")
    if len(expected.gradient) <= VALUES and not same_norm(report.global_norm, expected.gradient):
        raise Finding(f"the norm of {expected.gradient} is not {report.global_norm!r}")
    return TAKEN


def _refused(
    error: GradclipError, expected: Seen | None, raw: bytes, stricter: Sequence[Reason]
) -> str:
    if "library refuses" in error.problem and LEFT_TO_THE_LIBRARY not in error.problem:
        raise Finding(f"only the library refuses: {error.problem}") from error
    check_fit(error)
    if expected is None:
        return REFUSED
    for reason in stricter:
        if reason.explains(error.problem, raw):
            return reason.why
    raise Finding(f"stricter without a reason: {error.problem}") from error


def same_norm(norm: float, gradient: Sequence[float]) -> bool:
    """Say whether a norm is that of the values: exact to a few units of float64."""
    if any(map(math.isnan, gradient)):
        return math.isnan(norm)
    if any(map(math.isinf, gradient)):
        return norm == math.inf
    exact = exact_norm(gradient)
    return norm == exact or math.isclose(norm, exact, rel_tol=1e-14, abs_tol=5e-324)


# The command


def fuzz(
    form: str, seed: int, iterations: Iterable[int], folder: Path, stricter: Sequence[Reason]
) -> Counter[str]:
    """Hold mutants to the laws and count what came of them; `Finding` says how to repeat it."""

    def once(iteration: int) -> str:
        raw = mutant(form, seed, iteration)
        try:
            return compare(folder / f"x.{form}", raw, stricter)
        except Finding as finding:
            raise Finding(f"{finding}\n{base64.b64encode(raw).decode()}") from finding

    return _counted(form, seed, iterations, once)


def fuzz_kind(kind: str, seed: int, iterations: Iterable[int], folder: Path) -> Counter[str]:
    """Hold cases of another kind to its laws, each with chance of its own."""
    return _counted(
        kind,
        seed,
        iterations,
        lambda iteration: KINDS[kind](random.Random(f"{kind} {seed} {iteration}"), folder),
    )


def _counted(
    kind: str, seed: int, iterations: Iterable[int], once: Callable[[int], str]
) -> Counter[str]:
    ends: Counter[str] = Counter()
    for iteration in iterations:
        try:
            ends[once(iteration)] += 1
        except Finding as finding:
            again = f"--kind {kind} --seed {seed} --start {iteration} --count 1"
            raise Finding(
                f"seed {seed}, case {iteration}\nagain: python -m tests.fuzz {again}\n{finding}"
            ) from finding
    return ends


def main() -> int:
    """Fuzz as the command line says; 0 if no law was broken, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=[*STRICTER, *KINDS], required=True)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--count", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    end = time.monotonic() + options.seconds
    numbers = itertools.takewhile(
        lambda _: time.monotonic() < end, range(options.start, options.start + options.count)
    )
    kind, seed = options.kind, options.seed
    with tempfile.TemporaryDirectory() as folder:
        try:
            if kind in KINDS:
                ends = fuzz_kind(kind, seed, numbers, Path(folder))
            else:
                ends = fuzz(kind, seed, numbers, Path(folder), STRICTER[kind])
        except Finding as finding:
            sys.stdout.write(f"{finding}\n")
            return 1
    sys.stdout.write(f"{ends.total():8,} cases, seed {seed}, from {options.start}\n")
    for word, count in ends.most_common():
        sys.stdout.write(f"{count:8,} {word}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
