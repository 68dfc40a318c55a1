"""The Penn Treebank corpus, fetched once into a cache folder: `--data_path=ptb`.

The archive comes from the internet, so nothing in it is trusted: `archive` reads the
three wanted files out of it, and each must have its published md5 sum before it takes
its place in the cache.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import pathlib
import shutil
import tempfile
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping

from ptb_lm.config import PTB_URL
from ptb_lm.data.archive import BadArchive, extract_wanted
from ptb_lm.data.cache_folder import default_cache_folder
from ptb_lm.data.connection import Response, Watchdog, open_address
from ptb_lm.errors import UserError
from ptb_lm.system.files import expand_home

# Mikolov's preprocessed corpus, the one that every published PTB number is for.
PTB_MD5 = {
    "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
    "ptb.valid.txt": "aa0affc06ff7c36e977d7cd49e3839bf",
    "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
}

TIMEOUT_SECONDS = 30.0  # For one wait on the network, not for the whole download.
# A server that sends a byte now and then would never be done. The real archive takes
# ten hours at this speed; it is measured after a minute, which may begin slowly.
SLOWEST_BYTES_PER_SECOND = 1_000
SLOW_START_SECONDS = 60.0
STARVING_SECONDS = 60.0  # without a byte of the archive, whatever else comes
BLOCK_BYTES = 1 << 18

# The real archive has 35 MB. The limit leaves room for a repacked mirror.
MAX_ARCHIVE_BYTES = 200_000_000

STAGING_PREFIX = ".ptb-download-"
STALE_STAGING_SECONDS = 24 * 3600

DownloadProgress = Callable[[int, int | None], None]


def fetch_ptb(
    url: str = PTB_URL,
    cache_dir: str | os.PathLike[str] | None = None,
    md5: Mapping[str, str] = PTB_MD5,
    progress: DownloadProgress | None = None,
) -> pathlib.Path:
    """A folder that holds the corpus; downloads it if need be.

    Files already there with the right sums are returned without using the network.
    A kill at any moment leaves whole files only, and several processes may fetch
    at once: each works in a folder of its own and renames into place.

    Args:
      url: address (http, https or file) of simple-examples.tgz.
      cache_dir: folder to keep the corpus in; `default_cache_folder()` if None.
      md5: file name -> md5 sum in hex, of each wanted file of the archive.
      progress: called with (bytes done, bytes in all or None) as bytes arrive.

    Returns:
      The folder `cache_dir`/ptb.

    Raises:
      UserError: the download, the archive or the cache folder is not as it should
        be. Temporary files are gone by then.
    """
    cache = default_cache_folder() if cache_dir is None else expand_home(cache_dir)
    corpus = cache / "ptb"
    if all(_has_sum(corpus / name, expected) for name, expected in md5.items()):
        return corpus
    with _blaming_folder(cache), _staging_folder(cache) as staging:
        archive = staging / "archive.tgz"
        _download(url, archive, progress)
        try:
            extract_wanted(archive, staging, tuple(md5))
        except BadArchive as error:
            raise _download_failure(url, str(error)) from error
        _check_sums(staging, md5, url)
        corpus.mkdir(exist_ok=True)
        for name in md5:
            os.replace(staging / name, corpus / name)
    return corpus


def _one_line(text: str) -> str:
    """The text on one line, without the control characters of a terminal."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in line)


def _download_failure(url: str, what: str) -> UserError:
    """The error for anything that is wrong with what `url` gives."""
    return UserError(
        _one_line(
            f"cannot get the Penn Treebank from {url}: {what}; "
            "download it by hand and give --data_path=FOLDER"
        )
    )


@contextlib.contextmanager
def _blaming_folder(cache: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write into a UserError that names the cache folder."""
    try:
        yield
    except BrokenPipeError:
        raise  # Never from a file: standard output went away under `progress`.
    except OSError as error:
        raise UserError(
            _one_line(
                f"cannot keep the corpus in the cache folder {cache}: "
                f"{error.strerror or error}; make room or make it writable, "
                "or set PTB_LM_CACHE to another folder"
            )
        ) from error


@contextlib.contextmanager
def _blaming_address(url: str, watchdog: Watchdog) -> Iterator[None]:
    """Turns a failure of the network into a UserError that names the address."""
    starved = f"nothing of the archive came for {STARVING_SECONDS:g} seconds"
    try:
        yield
        if watchdog.has_bitten:
            raise _download_failure(url, starved)
    except urllib.error.HTTPError as error:
        error.close()
        what = f"the server answered {error.code} {error.reason}"
        raise _download_failure(url, what) from error
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or str(error.reason)
        raise _download_failure(url, reason) from error
    except TimeoutError as error:
        what = f"no answer for {TIMEOUT_SECONDS:g} seconds"
        raise _download_failure(url, what) from error
    # ValueError is what urllib raises for an address that it cannot take apart.
    except (OSError, http.client.HTTPException, ValueError) as error:
        if watchdog.has_bitten:
            raise _download_failure(url, starved) from error
        what = f"{error}" or type(error).__name__
        raise _download_failure(url, what) from error


@contextlib.contextmanager
def _staging_folder(cache: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a new folder beside the corpus, which is removed however the block ends.

    It is on the file system of the cache, so that a rename out of it is atomic.
    """
    cache.mkdir(parents=True, exist_ok=True)
    # A process that was killed could not clean up: do it for it a day later, when
    # the folder cannot be a download still under way.
    for left_over in cache.glob(STAGING_PREFIX + "*"):
        with contextlib.suppress(OSError):
            if time.time() - left_over.stat().st_mtime > STALE_STAGING_SECONDS:
                shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(
        prefix=STAGING_PREFIX, dir=cache, ignore_cleanup_errors=True
    ) as staging:
        yield pathlib.Path(staging)


def _md5_of(path: pathlib.Path) -> str:
    """The md5 sum of a file, in hex."""
    # Not for security, and said so: FIPS builds of Python refuse md5 otherwise.
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _has_sum(path: pathlib.Path, expected: str) -> bool:
    """Whether `path` is a readable file with the md5 sum `expected`."""
    try:
        # is_file first: opening a named pipe would wait for ever.
        return path.is_file() and _md5_of(path) == expected
    except OSError:
        return False


def _check_sums(folder: pathlib.Path, md5: Mapping[str, str], url: str) -> None:
    """Raises UserError unless every file of `md5` in `folder` has its sum."""
    for name, expected in md5.items():
        actual = _md5_of(folder / name)
        if actual != expected:
            what = f"{name} has the md5 sum {actual} where {expected} is right"
            raise _download_failure(url, what)


def _declared_bytes(response: Response) -> int | None:
    """The length that the server announced, or None."""
    length = response.headers.get("Content-Length", "")
    # HTTP (RFC 9112, section 6.3): in a chunked answer Content-Length is void.
    if "Transfer-Encoding" in response.headers or not length.isdecimal():
        return None
    return int(length)


def _download(
    url: str, archive: pathlib.Path, progress: DownloadProgress | None
) -> None:
    """Copies what is at `url` to the file `archive`.

    Raises:
      UserError: the network failed, or the answer is too long or cut short.
      OSError: `archive` cannot be written.
    """
    too_long = f"it is larger than {MAX_ARCHIVE_BYTES:,} bytes"
    with contextlib.ExitStack() as stack:
        watchdog = stack.enter_context(Watchdog(STARVING_SECONDS))
        blaming = functools.partial(_blaming_address, url, watchdog)
        with blaming():
            response = open_address(url, TIMEOUT_SECONDS, watchdog)
            stack.enter_context(response)
            total = _declared_bytes(response)
        if total is not None and total > MAX_ARCHIVE_BYTES:
            raise _download_failure(url, too_long)
        output = stack.enter_context(open(archive, "wb"))
        done, begin = 0, time.monotonic()
        while True:
            with blaming():
                block = response.read1(BLOCK_BYTES)  # as soon as there is any
            if not block:
                break
            watchdog.feed()
            done += len(block)
            seconds = time.monotonic() - begin
            is_slow = done < seconds * SLOWEST_BYTES_PER_SECOND
            if is_slow and seconds > SLOW_START_SECONDS:
                what = f"less than {SLOWEST_BYTES_PER_SECOND:,} bytes a second come"
                raise _download_failure(url, what)
            if done > MAX_ARCHIVE_BYTES:
                raise _download_failure(url, too_long)
            output.write(block)
            if progress is not None:
                progress(done, total)
    # urllib reports a connection that ends early as an ordinary end of file.
    if total is not None and done != total:
        what = f"the connection ended after {done:,} of {total:,} bytes"
        raise _download_failure(url, what)
