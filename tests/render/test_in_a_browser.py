"""Pages in a browser: nothing is asked of the network or complained about, and all tools work.

The browser is Chromium, headless, driven by Playwright; axe-core looks for what keeps people out
(WCAG 2.2 AA). Where they are not installed the tests are skipped; `.ci/run` installs them.
"""

import functools
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.render.test_pages_to_show import BAD, GOOD, HOSTILE, SAMPLE, STEPS
from tests.running import gradclip

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

RUN = [*map(str, sorted(SAMPLE.glob("step-??.safetensors")))]
RUN.append(str(SAMPLE / "step-24-float16.safetensors"))
WIDTHS = (360, 1100, 2560)
# It must not ask the network itself, which would be taken for the page's doing.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# What axe-core can judge of WCAG 2.2 AA, and good practice.
MORE = {"exclude": [["tbody tr:nth-child(n+30)"]]}  # rows that are as those before them
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def random_tensors(count: int, size: int = 8) -> dict[str, Any]:
    random = np.random.default_rng(count)
    values = random.lognormal(size=(count, size)).astype(np.float32)
    return {f"model.layers.{n // 10}.part.{n % 10}.weight": values[n] for n in range(count)}


def tensors(folder: Path, count: int) -> list[str]:
    save_file(random_tensors(count), folder / "many.safetensors")
    return ["inspect", str(folder / "many.safetensors"), "--clip-norm", "5"]


def steps(folder: Path, count: int, tensors: int = 3) -> list[str]:
    for step in range(count):
        size = 1 + math.sin(step / 50) ** 2 + (1000 if step % 700 == 600 else 0)
        named = {name: size * one for name, one in random_tensors(tensors, 2).items()}
        save_file(named, folder / f"step-{step}.safetensors")
    return ["trend", str(folder), "--clip-norm", "5"]


def long_names(folder: Path) -> list[str]:
    layer = "params/transformer/encoder/layers_{}/multi_head_attention/query_projection/kernel"
    wrapped = "_fsdp_wrapped_module._orig_mod.model.language_model.layers.{}.mlp.down_proj.weight"
    named = {
        one.format(n): np.full(3, n + 1.0, np.float32) for one in (layer, wrapped) for n in range(9)
    }
    save_file(named, folder / "long.safetensors")
    return ["inspect", str(folder / "long.safetensors")]


def hostile(folder: Path) -> list[str]:
    for step in range(3):
        named = {name: np.full(3, step + 1.0, np.float32) for name in HOSTILE}
        save_file(named, folder / f"step-{step}.safetensors")
    return ["trend", str(folder), "--suggest"]


def only_nan(folder: Path) -> list[str]:
    for step in range(3):
        named = {f"layer.{n}": np.full(4, math.nan, np.float32) for n in range(3)}
        save_file(named, folder / f"step-{step}.safetensors")
    return ["trend", str(folder)]


PAGES: dict[str, Callable[[Path], list[str]]] = {
    "sample": lambda _: ["trend", *RUN],
    "sample step": lambda _: ["inspect", BAD, "--clip-norm", "5"],
    "sample not finite": lambda _: ["inspect", str(SAMPLE / "step-24-float16.safetensors")],
    "suggested": lambda _: ["trend", *STEPS, "--suggest"],
    "compared": lambda _: ["diff", GOOD, BAD],
    "explained": lambda _: ["explain", BAD, "--logged", "433422.39"],
    "1 tensor": lambda _: ["inspect", str(SAMPLE / "zero-to-nine.npy")],
    "300 tensors": lambda folder: tensors(folder, 300),
    "100,000 tensors": lambda folder: tensors(folder, 100_000),
    "1 step": lambda _: ["trend", BAD],
    "2,000 steps": lambda folder: steps(folder, 2000),
    "300 tensors, 300 steps": lambda folder: steps(folder, 300, 300),
    "only NaN": only_nan,
    "long names": long_names,
    "hostile": hostile,
}
MOST = {"100,000 tensors": 1_000_000, "2,000 steps": 1_000_000, "hostile": 200_000}
USUAL = 400_000  # bytes

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def path_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give what writes a page when it is first asked for."""

    @functools.cache
    def path(name: str) -> Path:
        folder = tmp_path_factory.mktemp("page")
        (folder / "dumps").mkdir()
        done = gradclip(*PAGES[name](folder / "dumps"), "--html", str(folder / "page.html"))
        assert done.returncode in (0, 1), done.stderr
        return folder / "page.html"

    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any, path_of: Callable[[str], Path]) -> Iterator[Open]:
    """Open pages; in the end nobody must have complained or asked for anything."""
    contexts, heard = [], []

    def open_page(name: str, width: int = 1100, **given: Any) -> Any:
        given = {"viewport": {"width": width, "height": 800}, **given}
        context = chromium.new_context(**given)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: heard.append(said.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:")) else heard.append(request.url)
            ),
        )
        page.goto(path_of(name).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


def overflowing(page: Any) -> list[str]:
    """Give what is wider than the page, or is written beyond the edges of its picture."""
    found: list[str] = page.evaluate(
        """() => {
            const wide = document.documentElement.scrollWidth > window.innerWidth;
            const texts = [...document.querySelectorAll("svg text")].filter((text) => {
                const inner = text.getBoundingClientRect();
                const outer = text.ownerSVGElement.getBoundingClientRect();
                // Names beside rows end there, and begin where there is room.
                if (text.closest(".drawn > svg")) return inner.right > outer.right + 2;
                return inner.left < outer.left - 2 || inner.right > outer.right + 2;
            });
            const tables = [...document.querySelectorAll("table")].filter((table) => {
                const name = table.querySelector("tbody th");
                const room = table.closest(".wide").clientWidth;
                return name && name.offsetWidth > 0.75 * room;
            });
            return [
                ...(wide ? ["the page"] : []),
                ...tables.map((table) => `the names of ${table.tHead.textContent}`),
                ...texts.map((text) => text.textContent),
            ];
        }"""
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_keeps_within_its_window_and_keeps_nobody_out(
    name: str, scheme: str, opened: Open
) -> None:
    for width in WIDTHS if scheme == "light" else (1100,):
        page = opened(name, width, color_scheme=scheme)
        assert overflowing(page) == []
        found = axe.Axe().run(page, MORE, RULES).response
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert found["passes"]


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_a_page_is_whole(name: str, opened: Open, path_of: Any) -> None:
    assert path_of(name).stat().st_size < MOST.get(name, USUAL)
    for width in WIDTHS:
        page = opened(name, width, java_script_enabled=False)
        assert page.locator("h1").inner_text()
        assert page.locator("figure svg").count() >= page.locator("figure").count()
        hidden = "all => all.filter((one) => !one.checkVisibility()).length"
        assert (
            page.locator("tbody tr, .scroll > svg, .bars svg, .said, .facts").evaluate_all(hidden)
            == 0
        )


def rows_of(table: Any) -> list[str]:
    found: list[str] = table.locator("tbody tr:visible th").all_inner_texts()
    return found


def test_columns_sort_by_their_values(opened: Open) -> None:
    page = opened("300 tensors")
    table = page.locator(".table").last
    head = table.locator("thead th", has_text="norm").first
    place = head.evaluate("head => head.cellIndex")

    def values() -> list[float]:
        cells = table.locator(f"tbody tr > :nth-child({place + 1})").all_text_contents()
        return [*map(float, cells)]

    first = values()
    assert first == sorted(first, reverse=True)  # the worst first
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == first
    assert table.locator(".order").count() == 0
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == first[::-1]
    table.locator("thead button").first.click()
    names = table.locator("tbody tr > :first-child").all_text_contents()
    assert names[:11] == [f"model.layers.0.part.{n}.weight" for n in range(10)] + [
        "model.layers.1.part.0.weight"
    ]
    assert head.get_attribute("aria-sort") is None


def test_rows_are_found_by_name_and_by_group(opened: Open) -> None:
    page = opened("300 tensors")
    table = page.locator(".table").last
    rows = table.locator("tbody tr:visible")
    table.locator("input[type=search]").fill("PART.7")
    assert rows.count() == 30
    assert table.locator("output").inner_text() == "30 of 300 rows"
    table.locator("select").select_option("model.layers.3")
    assert rows_of(table) == ["model.layers.3.part.7.weight"]
    table.locator("input[type=search]").fill("")
    assert rows.count() == 10
    page = opened("sample")
    table = page.locator(".table").last
    table.locator("input[type=search]").fill("rnn.")
    assert rows_of(table) == ["20", "18", "17", "16", "15", "13", "12", "11", "14", "10"]
    table.locator("input[type=search]").fill("")
    table.get_by_label("group of tensor").select_option("head")
    assert rows_of(table) == ["24", "22", "21", "19"]


def test_steps_are_read_out_by_keys_pointer_and_finger(opened: Open) -> None:
    page = opened("sample", has_touch=True)
    norms = page.locator("figure.norms")
    norms.locator(".scroll").focus()
    page.keyboard.press("End")
    assert norms.locator("output").inner_text().startswith("step 24 · norm nan · not finite")
    page.keyboard.press("ArrowLeft")
    assert norms.locator("output").inner_text().startswith("step 22 · norm 33,690")
    page.keyboard.press("Home")
    assert norms.locator("output").inner_text().startswith("step 10 ")
    layers = page.locator("figure.layers")
    layers.locator(".scroll").focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowDown")
    assert layers.locator("output").inner_text() == "head.weight · not finite · step 24"
    box = layers.locator(".scroll > svg").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert layers.locator("output").inner_text().startswith("head.bias · RMS ")
    assert layers.locator("output").inner_text().endswith("step 10")
    box = norms.locator(".scroll > svg").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 2, box["y"] + 30)
    assert norms.locator("output").inner_text().startswith("step 24 ")


def test_what_happened_is_shown_in_all_pictures_of_the_steps(opened: Open) -> None:
    page = opened("sample")
    page.locator(".events button", has_text="step 21").click()
    for figure in ("norms", "layers"):
        assert "step 21" in page.locator(f"figure.{figure} output").inner_text()
    page.locator(".events button", has_text="step 16").click()
    assert page.locator("figure.layers output").inner_text().startswith("rnn.weight_hh_l0 · ")
    page.locator(".events button", has_text="step 21").click()
    page.locator("figure.layers .scroll").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("figure.norms output").inner_text().startswith("step 22 ")


def test_pictures_are_enlarged_by_buttons_and_keys(opened: Open) -> None:
    page = opened("2,000 steps")
    figure = page.locator("figure.norms")
    width = functools.partial(figure.locator(".scroll > svg").evaluate, "svg => svg.clientWidth")
    whole = width()
    assert figure.get_by_label("zoom out").is_disabled()
    figure.get_by_label("zoom in").click()
    assert width() == pytest.approx(2 * whole, abs=2)
    figure.locator(".scroll").focus()
    page.keyboard.press("+")
    page.keyboard.press("End")
    assert width() == pytest.approx(4 * whole, abs=4)
    assert figure.locator(".scroll").evaluate("one => one.scrollLeft") > 2 * whole
    page.keyboard.press("-")
    assert width() == pytest.approx(2 * whole, abs=2)
    for _ in range(9):
        page.keyboard.press("+")
    assert figure.get_by_label("zoom in").is_disabled()
    figure.get_by_label("show all").click()
    assert width() == whole


def test_a_heat_map_is_enlarged_both_ways_with_its_names(opened: Open) -> None:
    page = opened("300 tensors, 300 steps")
    figure = page.locator("figure.layers")
    name = figure.locator(".drawn > svg text").nth(9)
    cell = figure.locator(".scroll > svg")
    high = cell.evaluate("svg => svg.clientHeight")
    figure.get_by_label("zoom in").click()
    higher = cell.evaluate("svg => svg.clientHeight")
    assert 1.7 * high < higher < 2 * high  # but for what stands above and below the rows
    figure.locator(".scroll").focus()
    for _ in range(9):
        page.keyboard.press("ArrowDown")
    cursor, named = figure.locator(".cursor").bounding_box(), name.bounding_box()
    middle = cursor["y"] + cursor["height"] / 2
    assert named["y"] < middle < named["y"] + named["height"]
    assert name.text_content() in figure.locator("output").inner_text()


def test_a_number_is_copied_whole_and_so_is_the_command(opened: Open) -> None:
    page = opened("sample step", permissions=["clipboard-read", "clipboard-write"])
    cell = page.locator(".facts dd").first
    cell.evaluate("cell => getSelection().selectAllChildren(cell)")
    page.keyboard.press("Control+c")
    assert page.evaluate("navigator.clipboard.readText()").strip() == "433422.3932561914"
    before = cell.evaluate("cell => cell.firstElementChild && cell.querySelector('i').offsetWidth")
    page.get_by_label("show all digits of the numbers").check()
    after = cell.evaluate("cell => cell.querySelector('i').offsetWidth")
    assert after > before
    page.get_by_role("button", name="copy").click()
    page.get_by_role("button", name="copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"gradclip inspect {BAD} --clip-norm 5 --html ")


def test_hostile_names_do_nothing(opened: Open) -> None:
    page = opened("hostile")
    assert page.locator("img, iframe, object, [onclick], [onload]").count() == 0
    assert page.locator("figure.layers").is_visible()
    page.locator("figure.layers .scroll").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".table tbody tr").count()


def test_where_a_server_allows_neither_style_nor_script_all_can_be_read(
    chromium: Any, path_of: Callable[[str], Path]
) -> None:
    page = chromium.new_page()
    headers = {"Content-Security-Policy": "default-src 'none'", "Content-Type": "text/html"}
    body = path_of("sample").read_text("utf-8")
    page.route("**/*", lambda route: route.fulfill(body=body, headers=headers))
    page.goto("http://gradclip.test/")
    assert page.locator("thead button").count() == 0  # no script has run
    assert page.locator("body").evaluate("body => getComputedStyle(body).maxWidth") == "none"
    assert "433422.3932561914" in page.locator("table").inner_text().replace("\u200b", "")
    line = page.locator("figure.norms path.norm").first
    assert line.evaluate("line => getComputedStyle(line).stroke") == "rgb(15, 92, 140)"
    assert overflowing(page) in ([], ["the page"])
    page.close()


def test_on_paper_there_are_no_tools_and_nothing_is_cut(opened: Open) -> None:
    page = opened("sample", 760)
    page.emulate_media(media="print")
    assert page.locator(".tools:visible, .digits:visible").count() == 0
    wide = page.locator(".wide").first
    assert wide.evaluate("one => getComputedStyle(one).overflow") == "visible"
    assert len(page.pdf(format="A4")) > 20_000
