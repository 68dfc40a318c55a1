"""The wanted files of simple-examples.tgz, and nothing else of it.

The archive comes from the internet, so nothing in it is trusted: the wanted files are
read out of it to names chosen here, within limits on size.
"""

import contextlib
import gzip
import pathlib
import tarfile
from collections.abc import Iterator

FOLDER_IN_ARCHIVE = "simple-examples/data"
BLOCK_BYTES = 1 << 18

# The largest wanted file has 5 MB. The limits leave room for a repacked mirror and
# stop what would fill the disk or the memory.
MAX_UNPACKED_BYTES = 512 << 20
MAX_MEMBER_BYTES = 64 << 20
MAX_MEMBERS = 10_000


class BadArchive(Exception):
    """What is wrong with an archive, in half a sentence."""


@contextlib.contextmanager
def _blaming_archive() -> Iterator[None]:
    """Turns a failure to read the archive into a BadArchive."""
    try:
        yield
    except BadArchive:
        raise
    # On a damaged archive tarfile raises far more than it documents (ValueError,
    # OverflowError, RecursionError, ...), and whatever it is means the same.
    except Exception as error:
        raise BadArchive(f"not a whole .tgz archive ({error or 'damaged'})") from error


class _LimitedReader:
    """The unpacked bytes of a gzip file, up to MAX_UNPACKED_BYTES of them."""

    def __init__(self, stream: gzip.GzipFile):
        self._stream = stream
        self._bytes_read = 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; raises BadArchive past the limit."""
        block = self._stream.read(size)
        self._bytes_read += len(block)
        if self._bytes_read > MAX_UNPACKED_BYTES:
            raise BadArchive(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        return block


def extract_wanted(
    archive: pathlib.Path, folder: pathlib.Path, names: tuple[str, ...]
) -> None:
    """Writes the files `names` of the archive into `folder`, and nothing else.

    Raises:
      BadArchive: the archive is damaged, lacks one of `names`, has one twice or as
        something that is not a plain file, or is larger than the limits.
      OSError: `folder` cannot be written.
    """
    missing = list(names)
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(gzip.open(archive, "rb"))
        reader = _LimitedReader(stream)
        with _blaming_archive():
            # As a stream ("r|"): tarfile then never seeks to where the archive
            # says, and every byte that it unpacks goes through the limit.
            tar = stack.enter_context(
                tarfile.open(fileobj=reader, mode="r|", bufsize=BLOCK_BYTES)  # type: ignore[call-overload]
            )
        for member in _members(tar):
            name = _wanted_name(member, names)
            if name is None:
                continue
            if name not in missing:
                raise BadArchive(f"{name} is in the archive twice")
            missing.remove(name)
            _extract_member(tar, member, folder / name)
    if missing:
        raise BadArchive(f"the archive has no {FOLDER_IN_ARCHIVE}/{missing[0]}")


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yields the members of `tar` in order, up to MAX_MEMBERS of them."""
    for _ in range(MAX_MEMBERS):
        with _blaming_archive():
            member = tar.next()
        if member is None:
            return
        yield member
    raise BadArchive(f"the archive has more than {MAX_MEMBERS:,} members")


def _wanted_name(member: tarfile.TarInfo, names: tuple[str, ...]) -> str | None:
    """Which of `names` the member is; None for one to pass over.

    The real archive has many other members: they are not written, so where their
    paths or links point does not matter. One that bears a wanted name on a path
    that leads out of the archive, or that is a link, a device or a folder at the
    wanted place, is an archive made to deceive: BadArchive.
    """
    path = pathlib.PurePosixPath(member.name)  # Drops "./" and doubled slashes.
    if path.name not in names:
        return None
    if path.is_absolute() or ".." in path.parts:
        raise BadArchive(f"the archive has {path.name} on a path that leads out of it")
    if str(path.parent) != FOLDER_IN_ARCHIVE:
        return None
    # A sparse file counts as regular for tarfile; its holes cost no bytes to send.
    if not member.isreg() or member.issparse():
        raise BadArchive(f"{path.name} in the archive is no plain file")
    return path.name


def _extract_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, target: pathlib.Path
) -> None:
    """Writes the contents of `member` to the new file `target`."""
    if member.size > MAX_MEMBER_BYTES:
        raise BadArchive(f"{target.name} is larger than {MAX_MEMBER_BYTES:,} bytes")
    with _blaming_archive():
        contents = tar.extractfile(member)
    left = member.size
    assert contents is not None, "only a plain file is wanted"
    with contents, open(target, "xb") as output:
        # Counted here, so that the limit holds for what is written too.
        while left > 0:
            with _blaming_archive():
                block = contents.read(min(left, BLOCK_BYTES))
            if not block:
                raise BadArchive(
                    f"{target.name} in the archive lacks its last {left:,} bytes"
                )
            left -= len(block)
            output.write(block)
