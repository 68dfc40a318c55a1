"""`predict` of a run: what was expected at every place, also while a text grows."""

import numpy as np
import pytest

import ptb_lm
from ptb_lm.data.vocabulary import Vocabulary
from ptb_lm.inference.prediction import STRETCH, likeliest
from tests.support.models import make_run, random_text

pytestmark = pytest.mark.slow  # a model, and functions that are traced


@pytest.fixture(scope="module")
def loaded(exported_run):
    return ptb_lm.load(exported_run)


@pytest.fixture
def steps(loaded, monkeypatch):
    """Lengths of what the model reads from now on."""
    model, lengths = loaded._text_model, []
    step = model.step

    def counted(ids, state):
        lengths.append(ids.shape[1])
        return step(ids, state)

    monkeypatch.setattr(model, "step", counted)
    return lengths


def open_scores(run, text):
    """What `score` says of a text whose last line is open."""
    (scored,) = run.score([text + "\n"])
    return scored.tokens[:-1], scored.nats[:-1]


def agree(found, expected):
    """Two predictions of one text say the same."""
    assert found.tokens == expected.tokens and found.unknown == expected.unknown
    np.testing.assert_allclose(found.nats, expected.nats, rtol=1e-4)
    np.testing.assert_allclose(
        found.next_log_probabilities, expected.next_log_probabilities, rtol=1e-4
    )
    for names, others in zip(found.expected, expected.expected, strict=True):
        assert [name for name, _ in names] == [name for name, _ in others]


@pytest.mark.parametrize("words", [0, 1, STRETCH - 1, STRETCH, 3 * STRETCH + 5])
def test_tokens_have_the_scores_of_score(loaded, words):
    text = random_text(words).strip()
    found = loaded.predict(text)
    tokens, nats = open_scores(loaded, text)
    assert found.tokens == tokens and len(found.expected) == len(tokens) >= words
    np.testing.assert_allclose(found.nats, nats, rtol=1e-4)


def test_the_likeliest_tokens_are_those_of_next_tokens(loaded):
    text = "w1 w2\nw3"
    found, model = loaded.predict(text, 4), loaded._text_model
    prompts = ["", "w1", "w1 w2", "w1 w2\n"]
    named = model.next_tokens(prompts, k=4)
    for place, names in enumerate(found.expected):
        tokens = [token.decode() for token in named["tokens"][place].numpy()]
        assert [name for name, _ in names] == tokens
        probabilities = [probability for _, probability in names]
        np.testing.assert_allclose(
            probabilities, named["probabilities"][place], rtol=1e-4
        )
    after = model.next_tokens([text], k=23)
    np.testing.assert_allclose(
        np.exp(found.next_log_probabilities)[after["ids"][0]],
        after["probabilities"][0],
        rtol=1e-4,
    )
    assert np.exp(found.next_log_probabilities).sum() == pytest.approx(1, rel=1e-5)


def test_a_text_that_grows_costs_a_step_for_every_word(loaded, steps):
    words = random_text(2 * STRETCH, seed=1).replace("\n", " ").split()
    found = loaded.predict(" ".join(words))
    for word in ("w5", "w6", "w7"):
        words.append(word)
        steps.clear()
        found = loaded.predict(" ".join(words), previous=found)
        assert steps == [1]
        agree(found, loaded.predict(" ".join(words)))
    steps.clear()
    same = loaded.predict(" ".join(words) + " ", previous=found)
    assert not steps
    agree(same, found)


def test_any_previous_text_gives_the_same(loaded):
    """Texts that are cut, changed in the middle, or have nothing in common."""
    texts = [random_text(n, seed) for n, seed in [(70, 2), (40, 2), (1, 2)]]
    texts += ["", texts[0].replace("w1 ", "w2 "), texts[0] + "w3", "w9 " + texts[0]]
    previous = None
    for text in [*texts, *reversed(texts)]:
        found = loaded.predict(text, previous=previous)
        agree(found, loaded.predict(text))
        previous = found


def test_a_change_reads_no_more_than_a_stretch(loaded, steps):
    words = random_text(4 * STRETCH, seed=4).split()
    before = loaded.predict(" ".join(words))
    steps.clear()
    loaded.predict(" ".join([*words[:-1], "w9"]), previous=before)
    assert sum(steps) <= STRETCH + 1  # those since the last kept state, and the new one


def test_what_another_run_or_number_gave_is_not_taken_over(loaded, tmp_path):
    other = ptb_lm.load(make_run(tmp_path / "other", seed=9).path)
    text = "w1 w2 w3"
    agree(loaded.predict(text, previous=other.predict(text)), loaded.predict(text))
    wider = loaded.predict(text, 9, previous=loaded.predict(text, 2))
    assert [len(names) for names in wider.expected] == [9, 9, 9]


def test_unknown_tokens_are_told(loaded):
    found = loaded.predict("w1 nowhere w2")
    assert found.tokens == ["w1", "<unk>", "w2"]
    assert found.unknown.share == pytest.approx(1 / 3)
    with pytest.warns(UserWarning, match="left out"):
        found = loaded.predict("w1 nowhere w2", unknown="skip")
    assert found.tokens == ["w1", "w2"] and found.unknown.left_out == 1
    with pytest.raises(ValueError, match="not at least 1"):
        loaded.predict("w1", 0)


def test_without_a_line_end_the_first_token_is_not_counted(tmp_path):
    vocabulary = Vocabulary([*" abcd"])
    options = {"token_type": "char", "normalize": "letters"}
    run = ptb_lm.load(make_run(tmp_path / "run", vocabulary, **options).path)
    found = run.predict("Ab-c")
    assert found.tokens == [*"ab c"] and found.nats[0] is None
    assert [len(names) for names in found.expected] == [0, 5, 5, 5]
    assert found.score.tokens == 3
    (scored,) = run.score(["ab c"])
    np.testing.assert_allclose(found.nats[1:], scored.nats[1:], rtol=1e-4)
    empty = run.predict("")
    assert empty.next_log_probabilities is None and not empty.tokens
    assert run.predict("a", previous=empty).tokens == ["a"]


def test_of_equally_likely_tokens_the_first_is_named_first():
    logs = np.log(np.array([0.1, 0.3, 0.3, 0.2, 0.1], np.float32))
    named = likeliest("abcde", logs, 3)
    assert [token for token, _ in named] == ["b", "c", "d"]
    assert len(likeliest("abcde", logs, 9)) == 5
