"""The HTML page in a real browser (Debian packages chromium and chromium-driver), offline."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from leaderboard_results import SAMPLE_SHA, documents, manifest, predictions, write_results

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.tasks.values import VALUE_NAMES

DOCS = documents()
EVIL = '"><img src=x onerror="window.pwned=1"></script><script>window.pwned=1'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    results = folder / "results"
    for seed in (1, 2):
        write_results(results / f"m{seed}", prediction=predictions(DOCS, 0.8, seed), docs=DOCS,
                      kind="valueeval", model=f"minilm-s{seed}", adapter=manifest(seed=seed),
                      model_args={"adapter": f"minilm-s{seed}"})  # fmt: skip
    for paraphrase in (1, 2, 3):
        write_results(results / f"gpt2-{paraphrase}", model="gpt2", parameters=124_439_808,
                      prediction=predictions(DOCS, 0.1 + 0.1 * paraphrase, paraphrase),
                      template="bca", paraphrase=paraphrase)  # fmt: skip
    write_results(results / "evil", model=EVIL, template="oa", samples=False,
                  parameters=7_000_000_000,
                  metrics={"macro_f1": 0.3, "official_f1": 0.4})  # fmt: skip
    write_results(results / "zhihu", model="gpt2", dataset="zhihu", sha="e" * 64)
    write_results(results / "sample", model="gpt2", dataset="sample", sample=True,
                  official=False, sha=SAMPLE_SHA)  # fmt: skip
    main([str(results), "-o", str(folder / "board.html")])
    return folder / "board.html"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium (extra: dev)")
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no chromium and chromedriver (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update",
        "--window-size=1280,1000", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield browser
    browser.quit()


@pytest.fixture
def browser(driver: Any, page: Path) -> Any:
    driver.set_window_size(1280, 1000)
    driver.get(page.as_uri())
    return driver


def rows(browser: Any) -> list[str]:
    """Names of the systems that are shown, in order."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#board tbody tr:not([hidden]) .system')]"
        ".map((node) => node.textContent)"
    )


def choose(browser: Any, selector: str, value: str) -> None:
    browser.execute_script(
        "const node = document.querySelector(arguments[0]); node.value = arguments[1];"
        "node.dispatchEvent(new Event('change'));", selector, value,
    )  # fmt: skip


def head(browser: Any, key: str) -> Any:
    return browser.find_element("css selector", f"th[data-key={key}] button")


MEASURED = ["minilm", "gpt2", EVIL]


def measured(browser: Any) -> list[str]:
    return [name for name in rows(browser) if name in MEASURED]


# ------------------------------------------------------------------------------- the file itself


def test_the_page_asks_nobody_for_anything(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    without_names = html.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r'(src|href)="(?!#|data:)[^"]*"', without_names)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML", without_names)
    assert "default-src 'none'" in html


# ------------------------------------------------------------------------------- in the browser


def test_no_console_errors_no_requests_and_no_foreign_script(browser: Any) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    browser.refresh()
    browser.find_element("css selector", "#theme").click()
    for name in ("parameters", "official_f1", "system"):
        head(browser, name).click()
    assert browser.get_log("browser") == []
    requests = [entry["message"] for entry in browser.get_log("performance")
                if '"Network.requestWillBeSent"' in entry["message"]]  # fmt: skip
    assert [message for message in requests if re.search(r'"url":"https?:', message)] == []
    assert browser.execute_script("return window.pwned") is None
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    assert EVIL in rows(browser)


def test_sorting_by_click_and_by_key_with_missing_last(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert measured(browser) == ["minilm", "gpt2", EVIL]
    column = "th[data-key=macro_f1]"
    assert browser.find_element("css selector", column).get_attribute("aria-sort") == "descending"
    head(browser, "macro_f1").click()
    assert measured(browser) == [EVIL, "gpt2", "minilm"]
    assert browser.find_element("css selector", column).get_attribute("aria-sort") == "ascending"
    head(browser, "parameters").send_keys(Keys.ENTER)
    names = rows(browser)
    assert measured(browser) == [EVIL, "gpt2", "minilm"]
    assert names.index("BERT") < names.index("Adam Smith"), "missing sizes come last"
    head(browser, "parameters").send_keys(Keys.SPACE)
    assert measured(browser) == ["minilm", "gpt2", EVIL]
    assert rows(browser)[-1] != "minilm"
    head(browser, "rank").click()
    assert rows(browser)[:3] == ["minilm", "gpt2", EVIL]


def test_filters_leave_what_fits_and_say_how_many(browser: Any) -> None:
    choose(browser, "#f-method", "zero-shot")
    assert rows(browser) == ["gpt2", EVIL]
    choose(browser, "#f-template", "oa")
    assert rows(browser) == [EVIL]
    assert "1 of" in browser.find_element("id", "status").text
    choose(browser, "#f-size", "s")
    assert rows(browser) == []
    assert "No system fits" in browser.find_element("id", "status").text
    browser.find_element("id", "reset").click()
    assert measured(browser) == ["minilm", "gpt2", EVIL]
    browser.find_element("id", "f-published").click()
    assert rows(browser) == ["minilm", "gpt2", EVIL]
    browser.find_element("id", "f-text").send_keys("GPT")
    assert rows(browser) == ["gpt2"]


def test_what_the_table_shows_is_said_first_for_the_set_that_is_chosen(browser: Any) -> None:
    def said() -> list[str]:
        found = browser.find_elements("css selector", ".finding")
        return [each.text for each in found if each.is_displayed()]

    (of_main,) = said()
    assert "systems can be the best (95 %" in of_main or "is the best (95 %" in of_main
    assert "60 arguments on 12 conclusions" in of_main
    choose(browser, "#f-set", "1")
    (of_zhihu,) = said()
    assert "1 system measured: there is nothing to compare." in of_zhihu


def test_a_star_says_what_it_means(browser: Any) -> None:
    note = browser.find_element("id", "why-best")
    assert not note.is_displayed()
    browser.find_element("css selector", "button[popovertarget=why-best]").click()
    assert "95 %" in note.text


def test_sets_are_never_shown_together(browser: Any) -> None:
    assert "Adam Smith" in rows(browser)
    choose(browser, "#f-set", "1")
    assert rows(browser) == ["gpt2", "Predicting every value"]


def test_figures_follow_the_filters(browser: Any) -> None:
    def marks(figure: str) -> int:
        return len(browser.find_elements("css selector", f"#{figure} .mark"))

    before = marks("fig-size")
    assert before >= 4
    assert (marks("fig-spread"), marks("fig-training"), marks("fig-pr")) == (5, 1, 20)
    choose(browser, "#f-method", "full")
    assert (marks("fig-size"), marks("fig-spread")) == (1, 2)
    browser.find_element("css selector", "input[value=trainable_parameters]").click()
    assert marks("fig-size") == 1
    cells = browser.find_elements("css selector", "#fig-values td")
    assert len(cells) == 20
    choose(browser, "#f-template", "oa")
    assert "No row shown" in browser.find_element("id", "fig-training").text


def test_figures_can_be_walked_by_key_and_tell_what_a_mark_is(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    first = browser.find_element("css selector", "#fig-spread .mark[tabindex='0']")
    first.send_keys(Keys.ARROW_RIGHT)
    active = browser.switch_to.active_element
    assert active.get_attribute("aria-label") != first.get_attribute("aria-label")
    assert "macro F1" in browser.find_element("id", "tip").text
    stops = browser.find_elements("css selector", "#fig-spread .mark[tabindex='0']")
    assert len(stops) == 1


def test_the_explanation_of_gaming_is_one_click_away(browser: Any) -> None:
    note = browser.find_element("id", "why-gamed")
    assert not note.is_displayed()
    browser.find_element("css selector", "button[popovertarget=why-gamed]").click()
    assert note.is_displayed()
    assert "harmonic mean" in note.text


@contextmanager
def screen(browser: Any, width: int) -> Iterator[None]:
    """The page as on a screen of this width."""
    # A headless window has a least width; the device metrics have none.
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.refresh()
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_the_screen(browser: Any, width: int) -> None:
    with screen(browser, width):
        wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width


def test_on_a_phone_no_score_of_a_folded_table_is_off_the_screen(browser: Any) -> None:
    with screen(browser, 360):
        cells = browser.execute_script(
            "for (const node of document.querySelectorAll('details')) node.open = true;"
            "return [...document.querySelectorAll('.plain td:not(:empty)')].map((cell) =>"
            "[cell.dataset.label, cell.getBoundingClientRect().right]);"
        )
    assert {"method", "base", "official F1", "other", "macro F1"} <= {label for label, _ in cells}
    assert max(right for _, right in cells) <= 360


@pytest.mark.parametrize("width", [360, 1280])
def test_a_long_name_leaves_its_template_in_sight(browser: Any, width: int) -> None:
    with screen(browser, width):
        places = browser.execute_script(
            "return [...document.querySelectorAll('.heat tbody th:has(small)')].map((name) =>"
            "[name.textContent, name.querySelector('small').getBoundingClientRect().right,"
            "name.getBoundingClientRect().right]);"
        )
    assert f"{EVIL} oa" in [name for name, *_ in places]
    assert all(template <= cell for _, template, cell in places)


def test_the_names_of_the_values_are_whole(browser: Any) -> None:
    names = browser.execute_script(
        "return [...document.querySelectorAll('#fig-pr svg > text')].map((n) => n.textContent)"
    )
    assert set(VALUE_NAMES) <= set(names)


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_light_and_dark_follow_the_system_and_the_button(
    browser: Any, scheme: str, dark: bool
) -> None:
    def brightness() -> int:
        colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    assert (brightness() < 200) == dark
    browser.find_element("id", "theme").click()
    assert (brightness() < 200) != dark
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
