"""What commands say of the texts that they read: size, unknown tokens, changes."""

from collections.abc import Iterator

import numpy as np

from ptb_lm.config import Config
from ptb_lm.data.corpus import Corpus
from ptb_lm.data.encoding import EncodedText
from ptb_lm.data.unknown import percent
from ptb_lm.data.vocabulary import UNKNOWN
from ptb_lm.data.windows import fills_window

KINDS = {"word": "words", "char": "characters", "byte": "bytes"}
SMALL_SHARE = 0.02  # of tokens that became <unk>: no need to warn of less
LONG_WORD = 10.0  # characters: words of European languages have 5 to 7 on average


def corpus_lines(corpus: Corpus, config: Config) -> Iterator[str]:
    """What there is to say of a corpus before a training on it."""
    kind = KINDS[config.data.token_type]
    counts = ", ".join(f"{len(ids):,} {name}" for name, ids in corpus.splits.items())
    size = len(corpus.vocabulary)
    yield f"Corpus {corpus.name}: {counts} tokens; {size:,} {kind}"
    if corpus.vocabulary.unknown_id is not None:
        shares = corpus.unknown_shares.items()
        listed = ", ".join(f"{percent(share)} of {split}" for split, share in shares)
        yield f"{UNKNOWN} is {listed}" + _reason(corpus, config)
    training = config.training
    rows, steps = training.batch_size, training.num_steps
    if not fills_window(len(corpus.splits["valid"]), rows, steps):
        yield (
            f"valid is too short for a window of {rows} by {steps} tokens: it is scored"
            " in one stream, and none of its tokens is left out"
        )


def _reason(corpus: Corpus, config: Config) -> str:
    """Which tokens became <unk>, where nobody asked for it."""
    if config.data.min_count or corpus.facts.min_count == 1:
        return ""
    kind = KINDS[config.data.token_type]
    return f": {kind} that train has once, or not at all (see --min_count)"


def corpus_warnings(corpus: Corpus, config: Config) -> Iterator[str]:
    """What may spoil a training on a corpus, or the meaning of its perplexities."""
    kind = KINDS[config.data.token_type]
    if corpus.facts.word_length >= LONG_WORD:
        yield (
            f"a word of this text has {corpus.facts.word_length:.0f} characters on"
            " average: if it has few blanks, as Chinese has, use --token_type=char"
        )
    unknown_id = corpus.vocabulary.unknown_id
    if unknown_id is None:
        return
    if not corpus.unknown_shares["train"]:
        counts = corpus.token_counts()
        least = int(np.min(counts[counts > 0]))
        yield (
            f"train has no {UNKNOWN}, so that the model cannot learn it;"
            f" --min_count={least + 1} makes {UNKNOWN} of the rarest {kind}"
        )
    replaced = corpus.facts.replaced
    shares = {s: replaced.get(s, 0) / len(corpus.splits[s]) for s in ("valid", "test")}
    split = max(shares, key=lambda name: shares[name])
    if shares[split] > SMALL_SHARE:
        yield _easy(shares[split], split)


def _easy(share: float, name: str) -> str:
    """What a perplexity means where many tokens became <unk>."""
    return (
        f"{percent(share)} of {name} is unknown and read as {UNKNOWN}, which is easy to"
        " predict: compare the perplexity only with others of this text and vocabulary"
    )


def text_warnings(text: EncodedText, name: str) -> Iterator[str]:
    """What may spoil the meaning of a text's perplexity under a trained model."""
    tokens = len(text.ids) + text.left_out
    if text.left_out:
        yield (
            f"{percent(text.left_out / tokens)} of {name} is unknown and left out:"
            " compare the perplexity with none that counts such tokens"
        )
    if text.replaced > SMALL_SHARE * tokens:
        yield _easy(text.replaced / tokens, name)
