"""The playground without a browser: its drafts, what it says of them, its HTML."""

import html.parser
import itertools
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import ptb_lm
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.errors import UserError
from tests.support.models import make_run

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from playground import app, colours, panels  # noqa: E402
from playground.draft import Draft  # noqa: E402
from playground.table import Table  # noqa: E402
from playground.view import NUM_CHOICES, NUM_EXPECTED, Player  # noqa: E402

WORDS = Vocabulary(
    ["<eos>", "the", "company", "companies", "said", "<b>x</b>", "${1+1}", "{{no}}"]
)
SETTINGS = {"num_tokens": 5, "temperature": 0.8, "top_k": 0, "top_p": 1.0, "seed": 3}


@pytest.fixture(scope="module")
def make_player(tmp_path_factory):
    """Makes a run of random weights, opened as the page opens it."""

    def make(name, vocabulary, **options):
        path = make_run(tmp_path_factory.mktemp("runs") / name, vocabulary, **options)
        return Player(ptb_lm.load(path.path), name)

    return make


@pytest.fixture(scope="module")
def words(make_player):
    return make_player("words", WORDS)


@pytest.fixture(scope="module")
def with_unknown(make_player):
    return make_player("with unknown", Vocabulary([*WORDS.tokens, "<unk>"]), seed=5)


@pytest.fixture(scope="module")
def characters(make_player):
    return make_player("characters", Vocabulary([*"\n abcd"]), token_type="char")


@pytest.fixture(scope="module")
def table(words, with_unknown):
    return Table([words, with_unknown])


class Elements(html.parser.HTMLParser):
    """The elements of a piece of HTML: (name, attributes, text directly in it)."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert not self._open, "an element is left open"

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag != "br":
            self._open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def of_class(self, name):
        return [e for e in self.found if name in e[1].get("class", "").split()]

    def named(self, tag):
        return [e for e in self.found if e[0] == tag]


# --- Drafts ------------------------------------------------------------------------


def test_undo_takes_back_one_change_after_the_other():
    """What is typed in a row is one change; a choice and a continuation are others."""
    draft = Draft().typed("t").typed("th").typed("the")
    draft = draft.chosen("the company ").continued("said").typed("the company said .")
    texts = []
    while draft.before:
        draft = draft.undone()
        texts.append(draft.text)
    assert texts == ["the company said", "the company ", "the", ""]
    assert draft.undone() is draft


def test_typing_the_same_text_is_no_change():
    draft = Draft().typed("the")
    assert draft.typed("the") is draft


def test_what_a_model_wrote_is_known_until_it_is_changed():
    draft = Draft("the ").continued("company said").typed("the company said so")
    assert draft.written == ((4, 16),)
    again = draft.continued(" and so on")
    assert again.written == ((4, 16), (19, 29))
    assert again.typed("the comp").written == ((4, 8),)
    assert again.typed("a").written == ()
    assert again.undone().written == ((4, 16),)


# --- Colours -----------------------------------------------------------------------


def test_contrast_is_that_of_the_standard():
    """The examples of WCAG's own tools."""
    assert colours.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert colours.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert colours.contrast("#ff0000", "#ffffff") == pytest.approx(4.00, abs=0.01)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_letters_can_be_read_on_every_colour(mode):
    for step in colours.STEPS:
        assert colours.contrast(*getattr(step, mode)) >= 4.5, step


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_lightness_alone_tells_the_order(mode):
    """So the scale can be read by those who do not tell all colours apart."""
    lights = [colours.luminance(getattr(step, mode)[0]) for step in colours.STEPS]
    assert lights == sorted(lights, reverse=mode == "light")
    for one, other in itertools.pairwise(lights):
        low, high = sorted((one, other))
        assert (high + 0.05) / (low + 0.05) > 1.1


def test_bits_find_their_step():
    bounds = [step.bits for step in colours.STEPS]
    assert bounds == sorted(bounds) and bounds[-1] == math.inf
    assert [colours.step_of(bits) for bits in (0, 0.99, 1, 1.5, 11.9, 12, 99)] == [
        *(0, 0, 1, 1, 5, 6, 6)
    ]
    rules = colours.style_sheet()
    assert len(re.findall(r"(?m)^\.pg \.s\d", rules)) == len(bounds)
    assert len(re.findall(r"(?m)^\.dark \.pg \.s\d", rules)) == len(bounds)


# --- What a run says ---------------------------------------------------------------


@pytest.mark.slow
def test_tokens_have_the_scores_of_the_library(words):
    view = words.view(Draft("the company said "))
    (scored,) = words.run.score(["the company said"])
    nats = [place.nats for place in view.places]
    np.testing.assert_allclose(nats, scored.nats[:3], rtol=1e-4)
    assert all(len(place.expected) == NUM_EXPECTED for place in view.places)
    assert view.score.tokens == 3 and len(view.choices) == NUM_CHOICES
    assert sum(p for _, p in view.choices) == pytest.approx(1, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "token", "after"),
    [
        ("", "the", "the "),
        ("the", "company", "the company "),
        ("the ", "company", "the company "),
        ("the comp", "companies", "the companies "),
        ("the company", "<eos>", "the company\n"),
        ("the\n", "the", "the\nthe "),
    ],
)
def test_a_choice_goes_on_with_the_text(words, text, token, after):
    view = words.view(Draft(text))
    assert token in dict(view.choices)
    assert words.with_choice(text, token) == after


@pytest.mark.slow
def test_an_unfinished_word_is_offered_its_endings(words):
    """It is not read as unknown, and a finished word is not taken for a beginning."""
    view = words.view(Draft("the comp"))
    assert view.unfinished == "comp" and len(view.places) == 1
    assert [t for t, _ in view.choices] == sorted(
        ["company", "companies"], key=lambda t: -dict(view.choices)[t]
    )
    after = dict(words.view(Draft("the")).choices)
    for token, probability in view.choices:
        assert probability == pytest.approx(after[token], rel=1e-4)
    for finished in ("the company", "the comp ", "the comx", "the\n", ""):
        assert not words.view(Draft(finished)).unfinished


@pytest.mark.slow
def test_unknown_words_are_named(words, with_unknown, table):
    text = "the what company what comx "
    view = words.view(Draft(text))
    assert [p.is_read for p in view.places] == [True, False, True, False, False]
    assert view.score.tokens == 2
    both = table.message(table.typed(table.opening, text))
    assert both == (
        "words: 3 words are not in the vocabulary, and left out: 'what', 'comx';"
        " with unknown: 3 words are not in the vocabulary, and read as <unk>:"
        " 'what', 'comx'"
    )
    one = Table([words])
    assert one.message(one.typed(one.opening, "the what ")) == (
        "1 word is not in the vocabulary, and left out: 'what'"
    )
    many = " ".join(f"x{i}" for i in range(9)) + " "
    assert one.message(one.typed(one.opening, many)).endswith("'x4' and 4 more")
    assert one.message(one.typed(one.opening, "the company")) == ""
    assert with_unknown.view(Draft(text)).score.tokens == 5


@pytest.mark.slow
def test_a_continuation_is_that_of_the_library(words, characters):
    for player, text in [
        (words, "the company"),
        (words, "the company "),
        (words, "the company\n"),
        (words, "the what"),
        (words, ""),
        (characters, "ab c"),
        (characters, "ab\n"),
    ]:
        (whole,) = player.run.generate([text], **SETTINGS)
        written = player.continuation(text, SETTINGS)
        tokens = player.rules.split(text + written, close_lines=False)
        assert player.rules.split(whole, False) == [t for t in tokens if t != "what"]
        assert "  " not in (text + written).replace("ab", "") or player is characters


@pytest.mark.slow
def test_what_was_written_is_set_apart(table):
    session = table.typed(table.opening, "the company")
    session = table.written(session, "the company", 0, SETTINGS)
    assert session.draft.text.startswith("the company ")
    for view in session.views:
        assert [p.is_written for p in view.places] == [False] * 2 + [True] * 5
    found = Elements(table_html(table, session)).of_class("written")
    assert len(found) == 10
    assert table.undone(session, session.draft.text).draft.text == "the company"


def table_html(table, session):
    return panels.panels(table.players, session.views)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"seed": None}, "seed: a whole number is needed"),
        ({"top_k": 1.5}, "top k: a whole number is needed"),
        ({"num_tokens": 0}, "num_tokens"),
    ],
)
def test_a_setting_that_is_not_allowed_is_a_mistake_of_the_user(table, change, message):
    with pytest.raises(UserError, match=message) as caught:
        table.written(table.opening, "the", 0, SETTINGS | change)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_characters(characters):
    view = characters.view(Draft("ab c\nd"))
    assert [place.token for place in view.places] == [*"ab c\nd"]
    assert not view.unfinished and None not in [place.nats for place in view.places]
    assert characters.with_choice("ab", " ") == "ab "
    found = Elements(panels.panels([characters], [view]))
    assert [e[2] for e in found.of_class("token")] == [*"ab c", "⏎", "d"]
    names = [e[2] for e in found.named("span")]
    assert {"␣ space", "⏎ line end"} <= set(names)


# --- HTML --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_page_tells_of_each_token_and_offers_the_next_ones(table):
    session = table.typed(table.opening, "the company nowhere said comp")
    found = Elements(table_html(table, session))
    tokens = found.of_class("token")
    assert [e[2] for e in tokens] == ["the", "company", "nowhere", "said"] * 2
    for place, (_, attributes, _) in zip(
        session.views[1].places, tokens[4:], strict=True
    ):
        told = json.loads(attributes["data-told"])
        bits = place.nats / math.log(2)
        assert told["token"] == place.token and told["bits"] == f"{bits:.1f}"
        assert f"s{colours.step_of(bits)}" in attributes["class"].split()
        assert float(told["p"].split()[0]) == pytest.approx(
            100 * math.exp(-place.nats), abs=0.06
        )
        assert len(told["expected"]) == NUM_EXPECTED
    unread = json.loads(tokens[2][1]["data-told"])
    assert unread == {"token": "nowhere", "note": "unknown, left out"}
    assert [e[2] for e in found.of_class("unfinished")] == ["comp", "comp"]
    buttons = [e[1] for e in found.named("button")]
    assert [b["data-run"] for b in buttons] == ["0", "0", "1", "1"]
    assert {b["data-token"] for b in buttons} == {"company", "companies"}
    numbers = [e[2] for e in found.named("dd")]
    for view, shown in zip(session.views, (numbers[:3], numbers[3:]), strict=True):
        assert shown[0] == f"{view.score.perplexity:,.2f}"
        assert shown[1] == f"{view.score.bits_per_token:.2f}"


@pytest.mark.slow
def test_markup_is_shown_as_text(table):
    """HTML's, and that of the templates into which Gradio puts what it shows."""
    text = (
        "<b>x</b> ${1+1} {{no}} <script>alert(1)</script> `'\"\\ &amp; <img src=x> <i"
    )
    session = table.typed(table.opening, text)
    page = table_html(table, session) + panels.escape(table.message(session))
    found = Elements(page)
    shown = [e[2] for e in found.of_class("token")]
    assert shown == text.split() * 2
    assert {e[0] for e in found.found} <= {
        *("div", "section", "header", "h2", "h3", "p", "dl", "dd", "dt", "ol", "li"),
        *("span", "button", "i", "b", "br"),
    }
    assert not {"<script", "<img", "onerror"} & set(re.findall(r"<\w+", page))
    assert not re.search(r"\$\{|\{\{|`|\\", page)


@pytest.mark.slow
def test_a_floor_is_shown_where_it_is_known(words, make_player):
    results = type("Results", (), {})()
    results.floor_perplexity, results.parameters = 9.79, 1234567
    results.best_weights = type("Scores", (), {"test_perplexity": 10.5})()
    player = make_player("floor", WORDS)
    view = player.view(Draft("the company"))
    player.run.__dict__["results"] = results
    page = panels.panels([player], [view])
    assert "floor of this corpus" in page and "9.79" in page
    assert "1,234,567 parameters · test perplexity 10.50" in page
    assert "floor" not in panels.panels([words], [words.view(Draft("the company"))])
    above, below = (
        panels.meaning(player, ptb_lm_score(p), 9.79) for p in (12.34, 5.678)
    )
    assert "among 12 equally" in above and "gets below 9.79" in above
    assert "among 5.7 equally" in below and "easier" in below


def ptb_lm_score(perplexity):
    from ptb_lm.evaluation.metrics import Score

    return Score(10 * math.log(perplexity), 10)


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        *[(1.0, "100 %"), (0.9999, "99.9 %"), (0.5, "50.0 %"), (0.0123, "1.2 %")],
        *[(0.00042, "0.04 %"), (0.00002, "0.002 %"), (1e-9, "< 0.001 %")],
    ],
)
def test_probabilities_are_short(probability, shown):
    assert panels.percent(probability) == shown


# --- The command line --------------------------------------------------------------


def test_runs_have_names_that_differ():
    assert app.names_of(["runs/a", "runs/b/"]) == ["a", "b"]
    assert app.names_of(["x/a", "y/a", "b"]) == ["x/a", "y/a", "b"]
    assert app.names_of(["a", "a"]) == ["a (1)", "a (2)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no run there"),
        ([], "RUN"),
        (["a", "--port=x"], "--port"),
        (["a", "--port=70000"], "--port"),
        (["a", "--colour"], "--colour"),
        (["a", "--weights=mean"], "--weights"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("playground.py: ") and error.count("\n") == 1
    assert message in error and "Traceback" not in error


def test_a_foreign_folder_is_no_run(tmp_path):
    (tmp_path / "flags.txt").write_text("--no_such_option=1\n")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "playground.py", tmp_path],
        capture_output=True,
        text=True,
        cwd=EXAMPLES.parent,
        env={"PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "no_such_option" in done.stderr
