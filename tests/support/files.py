"""Folders on disk: a corpus written into one, and all that one holds."""

import random

SPLITS = ("train", "valid", "test")
# In one step a run of the preset test needs 20 * (2 + 1) tokens.
TEXT = "the cat <unk> sat\n" * 40


def write_corpus(folder, **texts):
    """Writes a corpus and returns its folder.

    Args:
      folder: made where it is missing.
      **texts: split -> text, bytes or str; None leaves the file out. Splits that are
        not named hold `TEXT`.
    """
    folder.mkdir(exist_ok=True)
    for split in SPLITS:
        content = texts.get(split, TEXT)
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (folder / f"{split}.txt").write_bytes(data)
    return folder


def write_random_corpus(folder, seed=0, sizes=(60, 10, 8)):
    """Writes sentences of 30 random words, so many a split; returns the folder."""
    generator = random.Random(seed)
    words = [f"w{index}" for index in range(30)]
    texts = {}
    for split, lines in zip(SPLITS, sizes, strict=True):
        sentences = [" ".join(generator.choices(words, k=7)) for _ in range(lines)]
        if split == "train":
            sentences[:30] = [f"{word} " * 7 for word in words]  # all in every corpus
        texts[split] = "\n".join(sentences) + "\n"
    return write_corpus(folder, **texts)


def snapshot(folder):
    """Path in the folder -> content, None of a folder, of all there is below it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }
