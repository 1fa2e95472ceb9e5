"""`--html`: one file that is whole, asks for nothing, says what JSON says, and obeys no name."""

import base64
import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.running import Run, gradclip, loaded_by, shown_by

SAMPLE = Path(__file__).parents[2] / "sample_grads"
GOOD, BAD = str(SAMPLE / "step-19.safetensors"), str(SAMPLE / "step-20.safetensors")
STEPS = [*map(str, sorted(SAMPLE.glob("step-1?.safetensors"))), BAD]
COMMANDS = {
    "inspect": ["inspect", BAD, "--clip-norm", "5"],
    "groups": ["inspect", BAD, "--group-by", "1"],
    "not finite": ["inspect", str(SAMPLE / "step-24-float16.safetensors")],
    "diff": ["diff", GOOD, BAD],
    "trend": ["trend", *STEPS, "--clip-norm", "5"],
    "explain": ["explain", BAD, "--logged", "433422.39"],
}
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "</style><b onclick='a()'>x",
    '"><svg onload=alert(3)>',
    "{{ 7 * 7 }}{% raw %}",
    "a" * 5000,
    "weight\u202e\x1b[31m",
)


class Seen(html.parser.HTMLParser):
    """What a browser finds in a page: its elements, and the texts of those that are asked for."""

    VOID = frozenset(("meta", "link", "input", "br", "wbr"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self._open = [one for one in self._open if one not in ("td", "th")]
        if tag in ("i", "b", *self.VOID):
            return
        self._open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        for tag in self._open:
            self.texts[tag][-1] += data

    @property
    def numbers(self) -> Iterator[float]:
        """The numbers of cells and figures."""
        for text in (*self.texts.get("td", ()), *self.texts.get("dd", ())):
            for word in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])", text):
                yield float(word)


def page(run: Run, folder: Path, arguments: Sequence[str]) -> str:
    """Write a page and give it."""
    path = folder / "page.html"
    done = run(*arguments, "--html", str(path), "--force")
    assert done.status in (0, 1), done.err
    return path.read_text("utf-8")


def numbers_of(value: object) -> Iterator[float]:
    """Give all numbers that JSON has."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers_of(one)
    elif isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, str):
        yield from map(float, re.findall(r"\d+(?:\.\d+)?", value))


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_printed_stays_the_same(run: Run, name: str, tmp_path: Path) -> None:
    for form in ("tsv", "json", "table"):
        arguments = [*COMMANDS[name], "--format", form]
        path = str(tmp_path / f"{form}.html")
        assert run(*arguments, "--html", path).out == run(*arguments).out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_is_that_of_json(run: Run, name: str, tmp_path: Path) -> None:
    found = Seen(page(run, tmp_path, COMMANDS[name]))
    told = json.loads(run(*COMMANDS[name], "--json").out)
    known = {*numbers_of(told)}
    numbers = [*found.numbers]
    assert len(numbers) > 3
    assert [number for number in numbers if number not in known] == []


def test_a_page_with_limits_has_the_numbers_of_the_run_and_of_the_limits(
    run: Run, tmp_path: Path
) -> None:
    found = Seen(page(run, tmp_path, ["trend", *STEPS, "--suggest"]))
    known = {
        number
        for asked in ([], ["--suggest"])
        for number in numbers_of(json.loads(run("trend", *STEPS, *asked, "--json").out))
    }
    numbers = [*found.numbers]
    assert len(numbers) > 100
    assert [number for number in numbers if number not in known] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_says_what_json_says_first(run: Run, name: str, tmp_path: Path) -> None:
    told = json.loads(run(*COMMANDS[name], "--json").out)
    assert Seen(page(run, tmp_path, COMMANDS[name])).texts["h1"] == [told["says"]]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_allows_its_own_style_and_script_and_nothing_else(
    run: Run, name: str, tmp_path: Path
) -> None:
    text = page(run, tmp_path, COMMANDS[name])
    found = Seen(text)
    policy = next(given["content"] or "" for tag, given in found.elements if "http-equiv" in given)
    for kind, element in (("style", "style"), ("script", "script")):
        own = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert len(own) == 1
        digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    given = [(tag, key, value) for tag, some in found.elements for key, value in some.items()]
    assert not [one for one in given if one[1] == "style" or one[1].startswith("on")]
    assert {value for _, key, value in given if key in ("src", "href")} == {"data:,"}


def test_names_are_data(run: Run, tmp_path: Path) -> None:
    for place, name in enumerate(HOSTILE):
        value = np.full(3, place + 1.0, np.float32)
        save_file({name: value, "other.weight": value}, tmp_path / f"step-{place}.safetensors")
    first, second = (str(tmp_path / f"step-{place}.safetensors") for place in (0, 1))
    for place in range(len(HOSTILE)):
        step = str(tmp_path / f"step-{place}.safetensors")
        assert_harmless(page(run, tmp_path, ["inspect", step]))
    assert_harmless(page(run, tmp_path, ["diff", first, second]))
    assert_harmless(
        page(run, tmp_path, ["trend", *map(str, sorted(tmp_path.glob("*.safetensors")))])
    )


def assert_harmless(text: str) -> None:
    found = Seen(text)
    tags = [tag for tag, _ in found.elements]
    assert "img" not in tags
    assert tags.count("script") - text.count("application/json") == 1
    assert tags.count("style") == 1
    assert "49{%" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 150_000
    assert not [key for _, given in found.elements for key in given if key.startswith("on")]


def test_data_for_the_script_ends_no_element(run: Run, tmp_path: Path) -> None:
    save_file({HOSTILE[1]: np.ones(3, np.float32)}, tmp_path / "step-1.safetensors")
    save_file({HOSTILE[1]: np.ones(3, np.float32)}, tmp_path / "step-2.safetensors")
    text = page(run, tmp_path, ["trend", *map(str, sorted(tmp_path.glob("*.safetensors")))])
    data = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert len(data) == 2
    assert HOSTILE[1] in json.loads(data[1])["down"][0]


@pytest.mark.parametrize("name", ["inspect", "diff", "trend", "explain"])
def test_no_file_is_replaced(run: Run, name: str, tmp_path: Path) -> None:
    there = tmp_path / "page.html"
    there.write_text("mine")
    done = run(*COMMANDS[name], "--html", str(there))
    assert done.status == 2
    assert done.out == ""
    assert there.read_text() == "mine"
    done = run(*COMMANDS[name], "--html", BAD, "--force")
    assert "would replace an input" in done.err


def test_no_page_takes_the_place_of_parameters(run: Run, tmp_path: Path) -> None:
    params = tmp_path / "params.safetensors"
    params.write_bytes(Path(GOOD).read_bytes())
    done = run("inspect", BAD, "--params", params, "--html", params, "--force")
    assert done.status == 2
    assert "would replace an input" in done.err
    assert params.read_bytes() == Path(GOOD).read_bytes()


def test_a_page_of_nothing_finite_and_of_one_tensor(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array([np.nan, np.inf], np.float32))
    text = page(run, tmp_path, ["inspect", str(tmp_path / "one.npy")])
    assert "not finite: 1 NaN, 1 +inf" in text
    np.save(tmp_path / "none.npy", np.zeros(0, np.float32))
    page(run, tmp_path, ["inspect", str(tmp_path / "none.npy")])
    page(run, tmp_path, ["trend", str(tmp_path / "one.npy")])
    page(run, tmp_path, ["diff", str(tmp_path / "one.npy"), str(tmp_path / "none.npy")])


def test_the_same_run_gives_the_same_page(run: Run, tmp_path: Path) -> None:
    assert page(run, tmp_path, COMMANDS["trend"]) == page(run, tmp_path, COMMANDS["trend"])


def test_a_run_says_what_a_limit_clips(run: Run, tmp_path: Path) -> None:
    told = json.loads(run("trend", *STEPS, "--clip-norm", "5", "--json").out)
    norms = [step["global_norm"] for step in told["steps"]]
    assert told["clip_norm"] == 5
    assert told["clipped"] == sum(norm > 5 for norm in norms) / len(norms)
    said = f"--clip-norm 5 clips {told['clipped'] * 100:.1f} % of the steps"
    assert said in run("trend", *STEPS, "--clip-norm", "5", "--format", "table").out
    assert said in page(run, tmp_path, ["trend", *STEPS, "--clip-norm", "5"])
    assert "clip_norm" not in json.loads(run("trend", *STEPS, "--json").out)
    refused = run("trend", *STEPS, "--clip-norm", "nan")
    assert (refused.status, refused.out) == (2, "")
    assert "nan is not a limit" in refused.err


def test_the_limit_that_is_recommended_is_drawn(run: Run, tmp_path: Path) -> None:
    text = page(run, tmp_path, ["trend", *STEPS, "--suggest"])
    told = json.loads(run("trend", *STEPS, "--suggest", "--json").out)
    assert f"recommended: --clip-norm {told['recommended']:g} clips" in text
    assert Seen(text).texts["h2"].count(told["says"]) == 1


def test_what_is_secret_in_a_command_is_not_shown(run: Run, tmp_path: Path) -> None:
    from gradclip_cli.cli.showing import command_of

    given = ["inspect", "https://me:secret@host/a.npy?X-Amz-Signature=sign", "--html", "a b.html"]
    assert command_of(given) == "gradclip inspect https://host/a.npy --html 'a b.html'"


def test_a_terminal_gets_a_link(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "my page.html"
    command = [sys.executable, "-m", "gradclip_cli", *COMMANDS["inspect"], "--html", str(path)]
    shown = shown_by(command, (60, 80), tmp_path, {"TERM": "xterm", "LC_ALL": "C.UTF-8"})
    target = f"file://{tmp_path.resolve()}/my%20page.html"
    assert f"\x1b]8;;{target}\x1b\\{path}\x1b]8;;\x1b\\" in shown.raw
    assert run(*COMMANDS["inspect"], "--html", str(tmp_path / "b.html")).err == ""


def test_a_run_of_a_thousand_tensors_is_a_small_page(run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for step in range(200):
        save_file(
            {
                f"model.layers.{tensor // 10}.part.{tensor % 10}.weight": random.normal(
                    size=2
                ).astype(np.float32)
                for tensor in range(1000)
            },
            tmp_path / f"step-{step}.safetensors",
        )
    assert len(page(run, tmp_path, ["trend", str(tmp_path)])) < 400_000
    one = page(run, tmp_path, ["inspect", str(tmp_path / "step-0.safetensors")])
    assert len(one) < 1_000_000
    assert one.count('scope="row"') == 1000


def test_what_is_left_out_is_counted_and_the_worst_is_not(run: Run, tmp_path: Path) -> None:
    tensors = {f"t{tensor}": np.array([tensor], np.float32) for tensor in range(1, 1502)}
    save_file(tensors, tmp_path / "many.safetensors")
    text = page(run, tmp_path, ["inspect", str(tmp_path / "many.safetensors")])
    rows = Seen(text).texts["th"]
    assert "the first 1,000 of 1,501 rows, the worst first" in text
    assert "t1501" in rows
    assert "t501" not in rows


def test_jinja_is_imported_for_a_page_alone(tmp_path: Path) -> None:
    assert "jinja2" not in loaded_by("inspect", BAD, "-q")
    assert "jinja2" in loaded_by("inspect", BAD, "-q", "--html", str(tmp_path / "page.html"))


def test_a_page_may_be_written_again_where_the_run_lies(run: Run, tmp_path: Path) -> None:
    for place, path in enumerate(STEPS):
        (tmp_path / f"step-{place}.safetensors").write_bytes(Path(path).read_bytes())
    there = tmp_path / "page.html"
    for _ in range(2):
        assert run("trend", tmp_path, "--html", there, "--force").status == 0
    step = tmp_path / "step-0.safetensors"
    kept = step.read_bytes()
    done = run("trend", tmp_path, "--html", step, "--force")
    assert "the page would replace an input" in done.err
    assert step.read_bytes() == kept
    assert "- is standard output" in run("trend", tmp_path, "--html", "-").err


def test_a_page_is_there_though_the_reader_of_the_report_leaves(tmp_path: Path) -> None:
    there = tmp_path / "page.html"
    closed = os.open("/dev/full", os.O_WRONLY)
    done = gradclip(*COMMANDS["inspect"], "--html", str(there), stdout=closed)
    os.close(closed)
    assert done.returncode == 2
    assert there.read_text("utf-8").endswith("</html>")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("--params=http://u:pw@host/a.npy?sig=SECRET", "--params=http://host/a.npy"),
        ("--scheduler=tcp://u:pw@host:1", "--scheduler=tcp://host:1"),
        ("tcp://u:pw@host:1", "tcp://host:1"),
        ("az://account/a.npy?sig=SECRET", "az://account/a.npy"),
        ("s3://me:pa/ss@bucket/a.npy", "s3://bucket/a.npy"),
        ("--group-by=^(a|b)@c", "'--group-by=^(a|b)@c'"),
    ],
)
def test_nothing_secret_is_shown_of_any_url(given: str, shown: str) -> None:
    from gradclip_cli.cli.showing import command_of

    assert command_of(["trend", given]) == f"gradclip trend {shown}"


def test_ones_are_numbers_and_no_words_for_true(run: Run, tmp_path: Path) -> None:
    for step in range(20):
        np.save(tmp_path / f"step-{step}.npy", np.ones(1, np.float32))
    heads = Seen(page(run, tmp_path, ["trend", str(tmp_path)])).texts["th"]
    assert {"global norm", "share"} <= {*heads}


def test_a_table_without_rows_is_none(run: Run, tmp_path: Path) -> None:
    text = page(run, tmp_path, ["explain", GOOD, "--logged", "987654321"])
    assert "<table" not in text
    assert "0 in all these rows" not in text


def test_a_page_goes_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "page.html"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    done = gradclip(*COMMANDS["inspect"], "--html", str(pipe))
    got, _ = reader.communicate(timeout=60)
    assert done.returncode == 0
    assert got.endswith(b"</html>")
