"""The HTML page in a real browser (Debian packages chromium and chromium-driver), offline."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from leaderboard_results import SAMPLE_SHA, documents, manifest, predictions, write_results

from valueeval.leaderboard.commands.leaderboard import main
from valueeval.leaderboard.page import samples
from valueeval.tasks.data.dataset import load_set
from valueeval.tasks.errors import ValueEvalError

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
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|innerHTML", without_names)
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
    assert "measured on 60 arguments with 12 conclusions" in of_main
    choose(browser, "#f-set", "Zhihu (validation)")
    (of_zhihu,) = said()
    assert "1 system measured: there is nothing to compare." in of_zhihu


def test_a_star_says_what_it_means(browser: Any) -> None:
    note = browser.find_element("id", "why-best")
    assert not note.is_displayed()
    browser.find_element("css selector", "button[popovertarget=why-best]").click()
    assert "95 %" in note.text


def test_sets_are_never_shown_together(browser: Any) -> None:
    assert "Adam Smith" in rows(browser)
    choose(browser, "#f-set", "Zhihu (validation)")
    assert rows(browser) == ["gpt2", "Predicting every value"]


def test_every_set_has_its_own_figures_in_the_colours_of_the_page(browser: Any) -> None:
    def drawn() -> list[str]:
        found = browser.find_elements("css selector", ".figures svg")
        return [each.get_attribute("aria-label") for each in found if each.is_displayed()]

    assert drawn() == [
        "intervals", "f1 parameters", "f1 trained parameters", "f1 training size", "f1 per value",
        "wordings and seeds", "precision recall",
    ]  # fmt: skip
    choose(browser, "#f-set", "Zhihu (validation)")
    assert drawn() == ["intervals", "f1 parameters", "f1 per value", "precision recall"]
    fills = browser.execute_script(
        "return [...document.querySelectorAll('.figures svg text')].map((n) =>"
        " getComputedStyle(n).fill)"
    )
    browser.find_element("id", "theme").click()
    assert fills != browser.execute_script(
        "return [...document.querySelectorAll('.figures svg text')].map((n) =>"
        " getComputedStyle(n).fill)"
    )


def test_the_state_of_the_page_is_in_its_address(browser: Any, page: Path) -> None:
    choose(browser, "#f-method", "zero-shot")
    browser.find_element("id", "f-text").send_keys("gpt")
    head(browser, "system").click()
    address = browser.current_url
    assert address.endswith("#method=zero-shot&text=gpt&sort=system")
    browser.get("about:blank")
    browser.get(address)
    assert rows(browser) == ["gpt2"]
    assert browser.find_element("id", "f-text").get_attribute("value") == "gpt"
    browser.execute_script(
        "location.hash = '#set=Zhihu+(validation)&method=nonsense&sort=-nothing'"
    )
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert rows(browser) == ["gpt2", "Predicting every value"]
    browser.find_element("id", "reset").click()
    assert browser.current_url == page.as_uri()


def test_the_table_can_be_downloaded_as_csv_and_json(browser: Any, page: Path) -> None:
    def downloaded(name: str) -> str:
        browser.execute_script(
            "window.kept = null; const of = URL.createObjectURL;"
            "URL.createObjectURL = (blob) => { blob.text().then((t) => { window.kept = t; });"
            " URL.createObjectURL = of; return 'blob:none'; };"
            "document.addEventListener('click', (event) => {"
            " if (event.target.tagName === 'A') event.preventDefault(); }, {once: false});"
        )
        browser.find_element("css selector", f"button[data-file='leaderboard.{name}']").click()
        browser.execute_async_script("setTimeout(arguments[0], 50)")
        return str(browser.execute_script("return window.kept"))

    results = page.parent / "results"
    main([str(results), "-o", str(page.parent / "b.csv"), "-o", str(page.parent / "b.json")])
    assert downloaded("csv") == (page.parent / "b.csv").read_text(encoding="utf-8")
    assert downloaded("json") == (page.parent / "b.json").read_text(encoding="utf-8")


def test_a_column_that_says_the_same_of_all_is_a_sentence(browser: Any) -> None:
    assert head(browser, "method").is_displayed()
    assert not browser.find_elements("css selector", "th[data-key=answer_mass]")
    choose(browser, "#f-set", "Zhihu (validation)")  # one system: nothing is the same for all
    assert head(browser, "prompt").is_displayed()


def test_variants_are_folded(driver: Any, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name, config in (("a-s0", {}), ("a-s1", {}), ("b", {"loss": "focal"})):
        write_results(results / name, kind="valueeval", model=name, docs=DOCS,
                      adapter=manifest(config={"loss": "bce", **config}, seed=int(name[-1] == "1")),
                      model_args={"adapter": name})  # fmt: skip
    write_results(results / "c", kind="valueeval", model="c", docs=DOCS,
                  adapter=manifest(config={"loss": "bce", "epochs": 1, "heads": "x"}),
                  model_args={"adapter": "c"})  # fmt: skip
    main([str(results), "-o", str(tmp_path / "board.html")])
    driver.get((tmp_path / "board.html").as_uri())
    found = [name for name in rows(driver) if name.startswith("minilm")]
    variants = "return DATA.rows.filter((row) => row.variant_of).map((row) => row.system)"
    folded = driver.execute_script(variants)
    assert folded
    assert not set(folded) & set(found)
    status = driver.find_element("id", "status").text
    assert f"{len(folded)} variants are folded." in status
    assert "The same for all measured: method full, template cls" in status
    assert not driver.find_element("css selector", "th[data-key=method]").is_displayed()
    driver.find_element("id", "f-variants").click()
    assert set(folded) <= set(rows(driver))


def test_the_oracle_is_at_the_foot_in_every_order(browser: Any) -> None:
    for key in ("macro_f1", "macro_f1", "system", "parameters"):
        assert rows(browser)[-1].startswith("Best per category")
        head(browser, key).click()


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


def test_on_a_phone_the_table_comes_before_the_filters(browser: Any) -> None:
    with screen(browser, 390):
        assert not browser.find_element("id", "f-set").is_displayed()
        top = browser.execute_script(
            "return document.querySelector('#board tbody tr').getBoundingClientRect().top"
        )
        assert top < 800
        browser.find_element("css selector", "#filters summary").click()
        assert browser.find_element("id", "f-set").is_displayed()


# ------------------------------------------------------------------------------- arguments


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with arguments, some of whose texts are hostile."""
    folder = tmp_path_factory.mktemp("browsed")
    data = load_set("sample")
    docs = [
        {"id": each.id, "conclusion": each.conclusion, "stance": each.stance,
         "premise": each.premise, "labels": labels.tolist()}
        for each, labels in zip(data.arguments, data.labels.astype(int), strict=True)
    ]  # fmt: skip
    for name, skill in (("good", 0.95), ("bad", 0.3)):
        write_results(folder / "results" / name, docs=docs, model=name, dataset="sample",
                      sample=True, official=False, sha=data.sha256,
                      prediction=predictions(docs, skill))  # fmt: skip
    evil = replace(data.arguments[0], premise=EVIL, conclusion=f"</ul>{EVIL}")
    hostile = replace(data, arguments=(evil, *data.arguments[1:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "load_data", lambda _: hostile)
        main([str(folder / "results"), "-o", str(folder / "board.html"), "--samples"])
    return folder / "board.html"


def test_what_a_system_gets_wrong_can_be_read_beside_another(driver: Any, browsed: Path) -> None:
    driver.get(browsed.as_uri())
    driver.find_element("css selector", "#browser summary").click()

    def status() -> str:
        return str(driver.find_element("id", "b-status").text)

    first = driver.find_element("css selector", "#arguments li")
    assert first.find_elements("css selector", ".chips .missed, .chips .wrong")
    assert len(driver.find_elements("css selector", "#arguments li")) == 20
    driver.execute_script("document.getElementById('b-more').click()")  # the page scrolls smoothly
    assert len(driver.find_elements("css selector", "#arguments li")) > 20
    wrong = status()
    choose(driver, "#b-a", "bad · cls")
    assert status() != wrong, "the worse one has more"
    choose(driver, "#b-b", "good · cls")
    choose(driver, "#b-which", "differ")
    assert len(driver.find_elements("css selector", "#arguments li:first-child .chips")) == 2
    choose(driver, "#b-which", "all")
    driver.find_element("id", "b-text").send_keys("window.pwned")
    assert status().startswith("1 of ")
    assert EVIL in driver.find_element("id", "arguments").text
    assert driver.execute_script("return window.pwned") is None
    assert driver.execute_script("return document.querySelectorAll('img').length") == 0
    address = driver.current_url
    driver.get("about:blank")
    driver.get(address)
    assert status().startswith("1 of ")
    assert driver.find_element("id", "b-a").get_attribute("value") == "bad · cls"


def test_no_text_of_the_data_is_in_a_page_without_samples(page: Path, browsed: Path) -> None:
    assert "Premise" not in page.read_text(encoding="utf-8")
    main([str(browsed.parent / "results"), "-o", str(browsed.parent / "without.html")])
    premise = load_set("sample").arguments[1].premise
    without = (browsed.parent / "without.html").read_text(encoding="utf-8")
    assert json.dumps(premise, ensure_ascii=False)[1:-1] not in without
    assert json.dumps(premise, ensure_ascii=False)[1:-1] in browsed.read_text(encoding="utf-8")


def test_samples_of_unknown_data_are_refused(page: Path) -> None:
    with pytest.raises(ValueEvalError, match="--samples: there are no arguments to show"):
        main([str(page.parent / "results"), "-o", str(page.parent / "no.html"), "--samples"])
    assert not (page.parent / "no.html").exists()


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
