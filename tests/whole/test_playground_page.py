"""The playground as a person sees it, in headless Chromium."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from ptb_lm.data.vocabulary import Vocabulary
from tests.support.browser import CHROMIUM, browser
from tests.support.models import make_run

pytest.importorskip("gradio")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = ["the", "company", "companies", "said", "it", "plans", "<b>bold</b>", "${1+1}"]
CHOICE = ".choices button"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of two runs, one of which knows no <unk>."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        make_run(folder / "first", Vocabulary(["<eos>", *WORDS])).path,
        make_run(folder / "second", Vocabulary(["<eos>", "<unk>", *WORDS])).path,
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    server = subprocess.Popen(
        [sys.executable, "examples/playground.py", *runs],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found, "the page is not served"
        yield found.group()
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(chromium, address):
    """The page anew, as wide as a desk's, with the focus in the text."""
    chromium.open(address)
    chromium.wait(f"document.querySelectorAll('{CHOICE}').length")
    chromium.wait("!!document.activeElement?.matches('#pg-text textarea')")
    return chromium


def text(page):
    return page.get("document.querySelector('#pg-text textarea').value")


def wait_for_text(page, expected):
    page.wait(f"document.querySelector('#pg-text textarea').value === {expected!r}")


def tokens(page, run=0):
    """The tokens that a run shows."""
    return page.get(
        f"[...document.querySelectorAll('section')[{run}].querySelectorAll('.token')]"
        ".map(token => token.textContent)"
    )


def type_text(page, typed, count):
    """Types, and waits until both runs show as many tokens."""
    page.click("#pg-text textarea")
    page.type(typed)
    wait_for_text(page, typed)
    page.wait(f"document.querySelectorAll('.token').length === {2 * count}")


def test_a_text_is_typed_and_coloured(page):
    type_text(page, "the company said", 3)
    assert tokens(page) == tokens(page, run=1) == ["the", "company", "said"]
    colours = page.get(
        "[...document.querySelectorAll('.token')]"
        ".map(token => [token.className, getComputedStyle(token).backgroundColor])"
    )
    assert all(re.search(r"\bs\d\b", name) for name, _ in colours)
    shown = {name.split()[-1]: colour for name, colour in colours}
    assert len(set(shown.values())) == len(shown) and "rgba(0, 0, 0, 0)" not in shown
    assert page.get("document.querySelectorAll('section dd')[0].textContent") != "-"
    page.point(".token:nth-of-type(2)")
    tip = page.wait(
        "(t => !t.hidden && t.textContent)(document.querySelector('.pg-tip'))"
    )
    assert tip.startswith("company") and "bits" in tip and "expected here" in tip


def test_a_choice_is_appended_and_taken_back(page):
    type_text(page, "the ", 1)
    token = page.get(f"document.querySelector('{CHOICE}').dataset.token")
    page.click(CHOICE)
    after = "the\n" if token == "<eos>" else f"the {token} "
    wait_for_text(page, after)
    page.wait("document.querySelectorAll('.token').length === 4")
    page.click("#pg-undo")
    wait_for_text(page, "the ")
    page.click("#pg-undo")
    wait_for_text(page, "")


def test_keys_are_enough(page):
    """Bars are chosen one after the other; arrow keys go from word to word."""
    page.get(f"document.querySelectorAll('{CHOICE}')[1].focus()")
    for count in (1, 2):
        page.press("Enter")
        page.wait(f"document.querySelectorAll('.token').length === {2 * count}")
        page.wait(
            "[...document.querySelectorAll('.choices button')]"
            ".indexOf(document.activeElement) === 1"
        )
    page.get("document.querySelector('.token').focus()")
    page.press("ArrowRight")
    assert (
        page.get(
            "[...document.querySelectorAll('.token')].indexOf(document.activeElement)"
        )
        == 1
    )
    assert page.get("!document.querySelector('.pg-tip').hidden")
    page.press("Escape")
    assert page.get("document.querySelector('.pg-tip').hidden")


def test_an_unfinished_word_is_completed(page):
    type_text(page, "the comp", 1)
    page.wait("document.querySelectorAll('.unfinished').length >= 3")
    page.click(f'{CHOICE}[data-token="companies"]')
    wait_for_text(page, "the companies ")


def test_a_run_continues_the_text(page):
    type_text(page, "the company", 2)
    page.click("#pg-write")
    page.wait("document.querySelectorAll('.token.written').length >= 2")
    assert text(page).startswith("the company") and len(text(page)) > 20
    page.click("#pg-undo")
    wait_for_text(page, "the company")


def test_unknown_words_and_mistakes_are_told_in_the_page(page):
    type_text(page, "the nowhere said ", 3)
    message = page.wait("document.querySelector('#pg-message').textContent.trim()")
    assert message == (
        "first: 1 word is not in the vocabulary, and left out: 'nowhere';"
        " second: 1 word is not in the vocabulary, and read as <unk>: 'nowhere'"
    )
    page.click("#pg-settings button")
    seed = "[aria-label*='Seed']"
    page.click(seed)
    page.get(f'document.querySelector("{seed}").select()')
    page.press("Backspace")
    page.click("#pg-write")
    said = "document.querySelector('#pg-message').textContent.includes('seed')"
    page.wait(said)
    assert text(page) == "the nowhere said "
    assert "Traceback" not in page.get("document.body.textContent")


def test_markup_is_shown_as_text(page):
    typed = "<b>bold</b> ${1+1} {{this}} <script>window.hit=1</script> "
    typed += "<img/src=x/onerror=window.hit=1> "
    type_text(page, typed, 5)
    assert tokens(page) == tokens(page, run=1) == typed.split()
    assert page.get("window.hit") is None
    assert (
        page.get("document.querySelectorAll('section img, section script').length") == 0
    )


def test_it_fits_a_phone(page, address):
    page.open(address, 390, 844)
    page.wait(f"document.querySelectorAll('{CHOICE}').length")
    type_text(page, "the company said it plans " * 5, 25)
    width = page.get("document.documentElement.scrollWidth")
    assert width <= 390
    sides = page.get(
        "[...document.querySelectorAll('section, textarea, .choices button, .legend')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert all(left >= 0 and right <= 390 for left, right in sides)
    tops = page.get(
        "[...document.querySelectorAll('section')]"
        ".map(s => s.getBoundingClientRect().top)"
    )
    assert tops[1] > tops[0], "one run below the other"


def test_a_dark_page_is_dark(page, address):
    page.prefer("dark")
    try:
        page.open(address)
        page.wait(f"document.querySelectorAll('{CHOICE}').length")
        colour = "getComputedStyle(document.querySelector('section')).backgroundColor"
        page.wait(f"{colour}.match(/\\d+/g).every(part => part < 50)")
    finally:
        page.prefer("light")


def test_only_this_machine_is_asked(page):
    """The last of these tests: by then a person has used all of the page."""
    asked = [a for a in page.asked if not a.startswith(("data:", "blob:", "about:"))]
    assert len(asked) > 5
    outside = [a for a in asked if not a.startswith("http://127.0.0.1:")]
    assert not outside
    assert not page.said, "errors on the console"
