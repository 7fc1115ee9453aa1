"""`valueeval app` in a real browser: what it shows, and that nothing leaves the machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import browser as browsers
import pytest
from tiny_adapters import write_adapter

from valueeval.tasks.values import VALUE_NAMES

pytest.importorskip("gradio", minversion="6.0", reason="no Gradio 6 (extra: app)")

SURVEY = (
    "party;text\n"
    "a;Nobody should have to fear the police in the street\n"
    "b;We owe respect to what our parents built for us\n"
    "b;\n"
)


@pytest.fixture(scope="module")
def adapter(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter") / "tiny", tiny_bert)


@pytest.fixture(scope="module")
def address(adapter: Path) -> Iterator[str]:
    """The address of a page that is served as users serve it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "valueeval", "app", "--adapter", str(adapter)]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--no_browser"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert f"127.0.0.1:{port}" in line, line
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsers.opened(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    browsers.resize(driver, 1280, 1000)
    driver.get(address)
    wait(lambda: "validation macro_f1" in driver.page_source)  # the model is loaded
    return driver


def wait(holds: Any, seconds: float = 60) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)
    return found


def button(page: Any, name: str) -> Any:
    return page.find_element("xpath", f"//button[normalize-space()='{name}']")


def open_tab(page: Any, name: str) -> None:
    page.find_element("xpath", f"//button[@role='tab'][normalize-space()='{name}']").click()


def field(page: Any, label: str) -> Any:
    """Return the visible text field with a label."""
    path = f"//label[.//span[normalize-space()='{label}']]//textarea"
    return next(each for each in page.find_elements("xpath", path) if each.is_displayed())


def texts(page: Any, selector: str) -> list[str]:
    return [each.text for each in page.find_elements("css selector", selector)]


def test_one_text_has_twenty_values_and_a_circle(page: Any) -> None:
    field(page, "Text").send_keys("Nobody should have to fear the police <b>at night</b>")
    button(page, "Show its values").click()
    wait(lambda: texts(page, "#answer table th[scope=row]"))
    assert sorted(texts(page, "#answer table th[scope=row]")) == sorted(VALUE_NAMES)
    circle = page.find_element("css selector", "#answer svg")
    assert len(circle.find_elements("css selector", "text")) == 20
    assert circle.get_attribute("aria-label").startswith("Circle of values: ")
    chips = texts(page, "#answer .ve-chip")
    marked = [row for row in texts(page, "#answer tbody tr") if "✓" in row]
    assert len(chips) == len(marked) == len(circle.find_elements("css selector", "g.ve-in"))
    assert "The text was read alone" in page.find_element("id", "answer").text


def test_two_texts_are_compared(page: Any) -> None:
    open_tab(page, "Two texts")
    field(page, "Text A").send_keys("Nobody should have to fear the police")
    field(page, "Text B").send_keys("We owe it to our parents")
    button(page, "Compare them").click()
    wait(lambda: texts(page, "#comparison table th[scope=row]"))
    assert len(texts(page, "#comparison table th[scope=row]")) == 20
    assert len(page.find_elements("css selector", "#comparison svg")) == 2
    gaps = [row.split()[-1].replace("\N{MINUS SIGN}", "-") for row in
            texts(page, "#comparison tbody tr")]  # fmt: skip
    sizes = [abs(float(gap)) for gap in gaps]
    assert sizes == sorted(sizes, reverse=True)


def test_a_table_is_labelled_and_can_be_downloaded(page: Any, tmp_path: Path) -> None:
    (tmp_path / "survey.csv").write_text(SURVEY, encoding="utf-8")
    open_tab(page, "A table")
    page.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "survey.csv"))
    wait(lambda: "survey.csv" in page.page_source)
    button(page, "Label the table").click()
    wait(lambda: texts(page, "#shares th[scope=row]"))
    shown = page.find_element("id", "shares").text
    assert "2 of 3 rows labelled" in shown
    assert "text from column 'text', read alone" in shown
    assert "the text is empty" in shown
    link = wait(lambda: page.find_elements("css selector", "#labelled a[href*='survey-labelled']"))
    with urllib.request.urlopen(link[0].get_attribute("href")) as answer:  # noqa: S310 (ours)
        lines = answer.read().decode().splitlines()
    assert lines[0].startswith("party;text;values;problem;labelled_from;")
    assert len(lines) == 4


def test_what_is_missing_is_told(page: Any) -> None:
    button(page, "Show its values").click()
    wait(lambda: "There is no text. Paste one first." in page.find_element("xpath", "//body").text)


def test_nothing_leaves_the_machine(page: Any, address: str) -> None:
    browsers.requested(page)
    page.get_log("browser")
    page.refresh()
    wait(lambda: "macro_f1" in page.page_source)
    field(page, "Text").send_keys("a text")
    button(page, "Show its values").click()
    wait(lambda: texts(page, "#answer table th[scope=row]"))
    asked = [url for url in browsers.requested(page) if not url.startswith(("data:", "blob:"))]
    assert asked
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
    assert [line for line in page.get_log("browser") if line["level"] == "SEVERE"] == []
    assert "Nothing leaves this machine." in page.find_element("xpath", "//body").text
    with urllib.request.urlopen(address) as answer:  # noqa: S310 (ours)
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_pages_of_the_web_cannot_ask_it(address: str) -> None:
    foreign = urllib.request.Request(address, headers={"Host": "example.org"})  # noqa: S310
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign)  # noqa: S310


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen(page: Any, width: int) -> None:
    browsers.resize(page, width, 844)
    field(page, "Text").send_keys("Nobody should have to fear the police")
    button(page, "Show its values").click()
    wait(lambda: texts(page, "#answer table th[scope=row]"))
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    box = page.find_element("css selector", "#answer svg").rect
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
