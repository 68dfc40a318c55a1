"""Fetching the corpus, against a real server on the loopback address."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptb_lm.data import archive, download
from ptb_lm.errors import UserError
from tests.support.archives import (
    CORPUS,
    DATA,
    plain,
    special,
    tar_bytes,
    tgz,
    wanted,
)
from tests.support.files import snapshot

MD5 = {name: hashlib.md5(text).hexdigest() for name, text in CORPUS.items()}
TRAIN = DATA + "ptb.train.txt"
SECRET = b"not to be touched"


class Server(http.server.ThreadingHTTPServer):
    """Answers each path with `routes[path](handler)`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes = {}
        self.requests = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def url(self, path="/simple-examples.tgz"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def serve(self, body, path="/simple-examples.tgz", **options):
        self.routes[path] = lambda handler: handler.answer(body, **options)
        return self.url(path)

    def stop(self):
        if not self.stopping.is_set():
            self.stopping.set()
            self.shutdown()
            self.server_close()
            self.thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.routes[self.path](self)

    def answer(self, body, status=200, headers=(), length=None):
        self.send_response(status)
        for key, value in headers:
            self.send_header(key, value)
        if length != "none":
            length = len(body) if length is None else length
            self.send_header("Content-Length", str(length))
        self.end_headers()
        # The client may rightly have hung up by now.
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server(no_proxy):
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def cache(tmp_path):
    """A cache folder two levels down, beside files that nothing may change."""
    (tmp_path / "sentinel").write_bytes(SECRET)
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "ptb.train.txt").write_bytes(SECRET)
    return tmp_path / "parent" / "cache"


def assert_complete(cache):
    assert snapshot(cache) == {
        "ptb": None,
        **{f"ptb/{name}": text for name, text in CORPUS.items()},
    }


def assert_untouched_outside(cache):
    outside = {
        name: contents
        for name, contents in snapshot(cache.parent.parent).items()
        if not name.startswith("parent/cache")
    }
    assert outside == {
        "sentinel": SECRET,
        "parent": None,
        "parent/ptb.train.txt": SECRET,
    }


def failure(url, cache, **options):
    """Return the message of the UserError that fetching from `url` ends in."""
    before = snapshot(cache)
    with pytest.raises(UserError) as caught:
        download.fetch_ptb(url, cache, MD5, **options)
    message = str(caught.value)
    assert message.isprintable()  # One line, no terminal escapes.
    assert snapshot(cache) == before
    assert_untouched_outside(cache)
    return message


def network_failure(url, cache):
    message = failure(url, cache)
    assert url in message
    assert "download it by hand and give --data_path=FOLDER" in message
    return message


# What works.


def test_fetches_then_uses_the_cache_without_network(server, cache):
    url = server.serve(tgz(wanted()))
    assert download.fetch_ptb(url, cache, MD5) == cache / "ptb"
    assert_complete(cache)
    server.stop()
    assert download.fetch_ptb(url, str(cache), MD5) == cache / "ptb"
    assert len(server.requests) == 1


def test_files_are_readable_by_whom_the_umask_says(server, cache):
    corpus = download.fetch_ptb(server.serve(tgz(wanted())), cache, MD5)
    probe = cache / "probe"
    probe.write_bytes(b"")
    for name in CORPUS:
        assert (corpus / name).stat().st_mode == probe.stat().st_mode


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "folder_link"])
def test_a_damaged_cached_file_is_fetched_again(server, cache, damage):
    url = server.serve(tgz(wanted()))
    corpus = download.fetch_ptb(url, cache, MD5)
    victim = corpus / "ptb.valid.txt"
    if damage == "changed":
        victim.write_bytes(victim.read_bytes().replace(b"dog", b"cow"))
    elif damage == "cut":
        os.truncate(victim, 5)
    else:
        victim.unlink()
        if damage == "folder_link":
            victim.symlink_to(cache.parent)
    download.fetch_ptb(url, cache, MD5)
    assert_complete(cache)
    assert not victim.is_symlink()
    assert len(server.requests) == 2


def test_a_failed_refetch_leaves_the_cache_as_it_was(server, cache):
    url = server.serve(tgz(wanted()))
    corpus = download.fetch_ptb(url, cache, MD5)
    (corpus / "ptb.test.txt").write_bytes(b"changed")
    server.serve(tgz(wanted(leave_out=["ptb.test.txt"])))
    network_failure(url, cache)  # Compares the folder before and after.


def test_a_named_pipe_in_the_cache_does_not_hang(server, cache):
    (cache / "ptb").mkdir(parents=True)
    os.mkfifo(cache / "ptb" / "ptb.train.txt")
    download.fetch_ptb(server.serve(tgz(wanted())), cache, MD5)
    assert_complete(cache)


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
@pytest.mark.parametrize("prefix", [DATA, "./" + DATA, "simple-examples//data/./"])
def test_spellings_of_the_path_and_tar_formats(server, cache, prefix, tar_format):
    body = gzip.compress(tar_bytes(wanted(prefix), tar_format))
    download.fetch_ptb(server.serve(body), cache, MD5)
    assert_complete(cache)


def test_unwanted_members_are_passed_over_and_never_written(server, cache):
    odd = [
        plain("../../sentinel", b"evil"),
        plain("/tmp/ptb_lm_test_evil", b"evil"),
        plain("simple-examples/README", b"x" * 100_000),
        plain("simple-examples/other/ptb.train.txt", b"another corpus"),
        special("simple-examples/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("simple-examples/hard", tarfile.LNKTYPE, "../../sentinel"),
        special("simple-examples/device", tarfile.CHRTYPE),
        special("simple-examples/pipe", tarfile.FIFOTYPE),
        special("simple-examples/data", tarfile.SYMTYPE, "/tmp"),
        special("simple-examples/data", tarfile.DIRTYPE),
        plain("simple-examples/" + "long/" * 60 + "name", b"long"),
        plain("simple-examples/caf\u00e9\n\x1b[31m", b"odd name"),
    ]
    members = odd[:6] + wanted() + odd[6:]
    download.fetch_ptb(server.serve(tgz(members)), cache, MD5)
    assert_complete(cache)
    assert_untouched_outside(cache)
    assert not pathlib.Path("/tmp/ptb_lm_test_evil").exists()


def test_file_address(cache, tmp_path_factory):
    archive = tmp_path_factory.mktemp("mirror") / "simple-examples.tgz"
    archive.write_bytes(tgz(wanted()))
    download.fetch_ptb(archive.as_uri(), cache, MD5)
    assert_complete(cache)


def test_redirects_within_http_are_followed(server, cache):
    server.serve(tgz(wanted()), "/moved.tgz")
    url = server.serve(b"", status=302, headers=[("Location", "/moved.tgz")])
    download.fetch_ptb(url, cache, MD5)
    assert_complete(cache)


@pytest.mark.parametrize("known", [True, False])
def test_progress(server, cache, monkeypatch, known):
    monkeypatch.setattr(download, "BLOCK_BYTES", 100)
    body = tgz(wanted())
    url = server.serve(body, length=None if known else "none")
    calls = []
    download.fetch_ptb(url, cache, MD5, progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done == [*range(100, len(body), 100), len(body)]
    assert {call[1] for call in calls} == {len(body) if known else None}
    assert_complete(cache)


def chunked(handler):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("Content-Length", "7")  # To be ignored.
    handler.end_headers()
    body = tgz(wanted())
    handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    handler.close_connection = True


def test_chunked_answer(server, cache):
    server.routes["/c"] = chunked
    download.fetch_ptb(server.url("/c"), cache, MD5)
    assert_complete(cache)


# What is wrong with the network.


def test_connection_refused(cache):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # Bound and not listening.
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.tgz"
        assert "refused" in network_failure(url, cache)


def test_name_that_does_not_resolve(cache, monkeypatch):
    def no_such_name(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    message = network_failure("http://no-such-host.invalid/a.tgz", cache)
    assert "Name or service not known" in message


@pytest.mark.parametrize("sent_first", [b"", b"HTTP/1.0 200 OK\r\n\r\n\x1f\x8b"])
def test_server_that_stops_answering(server, cache, monkeypatch, sent_first):
    def hang(handler):
        handler.wfile.write(sent_first)
        server.stopping.wait(20)

    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.1)
    server.routes["/hang"] = hang
    assert "no answer for 0.1 sec" in network_failure(server.url("/hang"), cache)


def test_server_that_sends_a_byte_now_and_then(server, cache, monkeypatch):
    """No wait is too long; all of it together would be."""

    def drip(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            while not server.stopping.wait(0.02):
                handler.wfile.write(b"x")

    monkeypatch.setattr(download, "SLOW_START_SECONDS", 0.2)
    server.routes["/drip"] = drip
    message = network_failure(server.url("/drip"), cache)
    assert "less than 1,000 bytes a second" in message


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"


@pytest.mark.parametrize(
    "first, again, pause",
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.0),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
        (b"HTTP/1.1 200 OK\r\nServer: ", b"x", 0.02),
        (CHUNKED, b"More: to come\r\n", 0.0),
    ],
    ids=["interim answers", "slow interim answers", "a slow head", "trailers"],
)
def test_server_that_sends_nothing_of_the_archive(
    server, cache, monkeypatch, first, again, pause
):
    """No wait is too long, and no byte of what counts ever comes."""

    def babble(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(first)
            while not server.stopping.wait(pause):
                handler.wfile.write(again)

    monkeypatch.setattr(download, "STARVING_SECONDS", 0.3)
    server.routes["/babble"] = babble
    message = network_failure(server.url("/babble"), cache)
    assert "nothing of the archive came for 0.3 seconds" in message
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_http_errors(server, cache, status):
    assert f"answered {status}" in network_failure(
        server.serve(b"<html>sorry</html>", status=status), cache
    )


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher"])
def test_redirect_out_of_http_is_refused(server, cache, tmp_path_factory, scheme):
    archive = tmp_path_factory.mktemp("elsewhere") / "a.tgz"
    archive.write_bytes(tgz(wanted()))
    target = archive.as_uri().replace("file", scheme, 1)
    url = server.serve(b"", status=302, headers=[("Location", target)])
    assert "answered 302" in network_failure(url, cache)


def test_redirect_for_ever(server, cache):
    url = server.serve(b"", status=302, headers=[("Location", "/simple-examples.tgz")])
    message = network_failure(url, cache)
    assert "answered 302" in message
    assert "?" not in message  # The line ends of urllib's reason became spaces.


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a.tgz",
        "data:,hello",
        "/data/simple-examples.tgz",
        "",
        "http:",
        "http://[::1/a.tgz",
        "http://127.0.0.1:port/a.tgz",
        "http://127.0.0.1/a b.tgz",
        "file:///no/such/file.tgz",
        "file:///",
    ],
)
def test_addresses_that_cannot_be_opened(cache, url):
    network_failure(url, cache)


def test_control_characters_stay_out_of_the_message(server, cache):
    def rude(handler):
        handler.wfile.write(b"HTTP/1.0 500 \x1b[31mred\x07\r\n\r\n")

    server.routes["/rude"] = rude
    assert "500" in network_failure(server.url("/rude"), cache)
    failure("http://127.0.0.1/\n\x1b[31m", cache)


@pytest.mark.parametrize("answer", [b"", b"220 ftp ready\r\n", b"x" * 70_000])
def test_not_http_at_all(server, cache, answer):
    server.routes["/odd"] = lambda handler: handler.wfile.write(answer)
    network_failure(server.url("/odd"), cache)


def test_connection_cut_short(server, cache):
    body = tgz(wanted())
    url = server.serve(body, length=len(body) + 10)
    assert "the connection ended after" in network_failure(url, cache)


@pytest.mark.parametrize("length", [None, "none"])
def test_answer_too_large(server, cache, monkeypatch, length):
    monkeypatch.setattr(download, "MAX_ARCHIVE_BYTES", 1000)
    url = server.serve(b"x" * 1001, length=length)
    assert "larger than 1,000 bytes" in network_failure(url, cache)


# What is wrong with the archive.


@pytest.mark.parametrize("name", list(CORPUS))
def test_wrong_md5(server, cache, name):
    members = [*wanted(leave_out=[name]), plain(DATA + name, b"something else\n")]
    message = network_failure(server.serve(tgz(members)), cache)
    assert name in message
    assert MD5[name] in message


@pytest.mark.parametrize("name", list(CORPUS))
def test_missing_member(server, cache, name):
    message = network_failure(server.serve(tgz(wanted(leave_out=[name]))), cache)
    assert f"no {DATA}{name}" in message


@pytest.mark.parametrize(
    "bad_name",
    [
        "../ptb.train.txt",
        "simple-examples/data/../data/ptb.train.txt",
        "simple-examples/data/../../../../ptb.train.txt",
        "/ptb.train.txt",
        "/simple-examples/data/ptb.train.txt",
        "//simple-examples/data/ptb.train.txt",
    ],
)
@pytest.mark.parametrize("also_whole", [False, True])
def test_wanted_name_on_a_path_out_of_the_archive(server, cache, bad_name, also_whole):
    whole = wanted(leave_out=() if also_whole else ["ptb.train.txt"])
    members = [plain(bad_name, CORPUS["ptb.train.txt"]), *whole]
    message = network_failure(server.serve(tgz(members)), cache)
    assert "leads out of it" in message


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "../../../../sentinel"),
        (tarfile.LNKTYPE, "simple-examples/data/ptb.test.txt"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.DIRTYPE, ""),
    ],
)
def test_wanted_name_that_is_no_plain_file(server, cache, kind, target):
    members = [special(TRAIN, kind, target), *wanted(leave_out=["ptb.train.txt"])]
    message = network_failure(server.serve(tgz(members)), cache)
    assert "ptb.train.txt in the archive is no plain file" in message


def test_link_then_file_of_the_same_name(server, cache):
    members = [special(TRAIN, tarfile.SYMTYPE, "../../../sentinel"), *wanted()]
    assert "no plain file" in network_failure(server.serve(tgz(members)), cache)


def test_sparse_member(server, cache):
    info, _ = plain(TRAIN, b"")
    # A "file" of a terabyte in a few bytes, the way of GNU tar 1.0.
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(1 << 40),
        "GNU.sparse.name": TRAIN,
    }
    sparse_map = b"0\n".ljust(512, b"\0")
    info.size = len(sparse_map)
    members = [(info, sparse_map), *wanted(leave_out=["ptb.train.txt"])]
    assert "no plain file" in network_failure(server.serve(tgz(members)), cache)


def test_duplicate_member(server, cache):
    members = [*wanted(), plain("./" + TRAIN, CORPUS["ptb.train.txt"])]
    assert "twice" in network_failure(server.serve(tgz(members)), cache)


def test_member_declared_too_large(server, cache, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 500)
    message = network_failure(server.serve(tgz(wanted())), cache)
    assert "ptb.train.txt is larger than 500 bytes" in message
    # Seen before any of it is read: the contents are not even there.
    info, _ = special(TRAIN, tarfile.REGTYPE)
    info.size = 501
    message = network_failure(server.serve(gzip.compress(info.tobuf())), cache)
    assert "ptb.train.txt is larger than 500 bytes" in message


def test_member_shorter_than_declared(server, cache):
    info, contents = plain(TRAIN, CORPUS["ptb.train.txt"])
    info.size = 10_000_000
    body = gzip.compress(info.tobuf() + contents)
    assert "not a whole .tgz archive" in network_failure(server.serve(body), cache)


def gzip_of_zeros(head, megabytes):
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(head)]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(megabytes)]
    return b"".join([*parts, packer.flush()])


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_gzip_bomb(server, cache, monkeypatch, kind):
    # In a member to pass over, and in a header that tarfile reads into memory.
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    info, _ = special("simple-examples/bomb", kind)
    info.size = 7 << 30  # From 8 on, tobuf would write it another way.
    url = server.serve(gzip_of_zeros(info.tobuf(), megabytes=4))
    assert "unpacks to more than 1,048,576" in network_failure(url, cache)


def test_too_many_members(server, cache, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 20)
    members = [plain(f"simple-examples/{i}", b"") for i in range(20)] + wanted()
    message = network_failure(server.serve(tgz(members)), cache)
    assert "more than 20 members" in message


def test_long_chain_of_headers(server, cache):
    # tarfile follows it by recursion, and raises RecursionError.
    info, _ = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 1
    link = info.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")
    body = gzip.compress(link * 2000)
    assert "not a whole .tgz archive" in network_failure(server.serve(body), cache)


@pytest.mark.parametrize("kept", [1, 5, 12, 100, 200])
def test_truncated_gzip(server, cache, kept):
    url = server.serve(tgz(wanted())[:kept])
    assert "not a whole .tgz archive" in network_failure(url, cache)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Please log in to this network</html>",
        tar_bytes(wanted()),
        gzip.compress(b""),
        gzip.compress(b"just some text, compressed"),
        gzip.compress(b"\0" * 2048),
        gzip.compress(os.urandom(4096)),
    ],
    ids=["empty", "html", "bare_tar", "gz_empty", "gz_text", "gz_zeros", "gz_noise"],
)
def test_not_an_archive(server, cache, body):
    network_failure(server.serve(body), cache)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 511), st.integers(0, 7), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
    mend_checksum=st.booleans(),
)
def test_any_damage_to_a_header_is_one_line(tmp_path_factory, changes, mend_checksum):
    parent = tmp_path_factory.mktemp("fuzz")
    long_name = plain("simple-examples/" + "n" * 300, b"")
    raw = bytearray(tar_bytes([long_name, *wanted()]))
    for place, block, value in changes:
        raw[block * 512 + place] = value
        if mend_checksum:
            header = raw[block * 512 : block * 512 + 512]
            header[148:156] = b" " * 8
            raw[block * 512 + 148 : block * 512 + 156] = b"%06o\0 " % sum(header)
    archive = parent / "a.tgz"
    archive.write_bytes(gzip.compress(bytes(raw), 1))
    cache = parent / "cache"
    try:
        download.fetch_ptb(archive.as_uri(), cache, MD5)
        assert_complete(cache)
    except UserError as error:
        assert str(error).isprintable()
        assert snapshot(cache) == {}
    assert sorted(path.name for path in parent.iterdir()) == ["a.tgz", "cache"]


# What is wrong with the cache folder, and interruptions.


def folder_failure(url, cache, named):
    message = failure(url, cache)
    assert str(named) in message
    assert "PTB_LM_CACHE" in message
    return message


def test_cache_under_a_file(server, cache):
    cache = cache.parent / "ptb.train.txt" / "cache"
    with pytest.raises(UserError, match=r"cache folder .*Not a directory"):
        download.fetch_ptb(server.serve(tgz(wanted())), cache, MD5)
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_cache_without_permission(server, cache):
    cache.mkdir(mode=0o500)
    message = folder_failure(server.serve(tgz(wanted())), cache, cache)
    assert "Permission denied" in message


def test_folder_in_the_place_of_a_file(server, cache):
    (cache / "ptb" / "ptb.test.txt" / "mine").mkdir(parents=True)
    url = server.serve(tgz(wanted()))
    with pytest.raises(UserError, match="cache folder"):
        download.fetch_ptb(url, cache, MD5)
    assert (cache / "ptb" / "ptb.test.txt" / "mine").is_dir()
    assert [path.name for path in cache.iterdir()] == ["ptb"]


@pytest.mark.parametrize("full_at", ["archive.tgz", "ptb.train.txt", "ptb.test.txt"])
def test_disk_full(server, cache, monkeypatch, full_at):
    class Full(io.BytesIO):
        def write(self, block):
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_until_full(path, mode):
        if mode != "rb" and os.path.basename(path) == full_at:
            return Full()
        return open(path, mode)

    for module in (archive, download):
        monkeypatch.setattr(module, "open", open_until_full, raising=False)
    message = folder_failure(server.serve(tgz(wanted())), cache, cache)
    assert "No space left" in message


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, BrokenPipeError, ZeroDivisionError]
)
def test_progress_that_raises_cleans_up_and_keeps_its_error(server, cache, error):
    def progress(done, total):
        raise error

    with pytest.raises(error):
        download.fetch_ptb(server.serve(tgz(wanted())), cache, MD5, progress)
    assert snapshot(cache) == {}


def test_stop_between_two_renames_leaves_whole_files(server, cache, monkeypatch):
    rename = os.replace
    renamed = []

    def stop_at_second(source, target):
        if renamed:
            raise KeyboardInterrupt
        rename(source, target)
        renamed.append(target)

    url = server.serve(tgz(wanted()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            download.fetch_ptb(url, cache, MD5)
    assert snapshot(cache) == {
        "ptb": None,
        "ptb/ptb.train.txt": CORPUS["ptb.train.txt"],
    }
    download.fetch_ptb(url, cache, MD5)
    assert_complete(cache)


def test_killed_in_the_middle_of_the_download(server, cache):
    body = tgz(wanted())
    sent = threading.Event()

    def half_then_wait(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        sent.set()
        server.stopping.wait(20)

    server.routes["/slow"] = half_then_wait
    code = (
        "import sys; from ptb_lm.data import download;"
        "download.fetch_ptb(sys.argv[1], sys.argv[2], {'ptb.train.txt': 'x'})"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, server.url("/slow"), str(cache)]
    process = subprocess.Popen(command, cwd=root)
    try:
        assert sent.wait(20)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (cache / "ptb").exists()
    (left_over,) = cache.iterdir()
    assert left_over.name.startswith(download.STAGING_PREFIX)

    # It might be a download still under way, so it stays until it is a day old.
    url = server.serve(body)
    download.fetch_ptb(url, cache, MD5)
    assert left_over.exists()
    long_ago = time.time() - 2 * download.STALE_STAGING_SECONDS
    os.utime(left_over, (long_ago, long_ago))
    (cache / "ptb" / "ptb.test.txt").unlink()
    download.fetch_ptb(url, cache, MD5)
    assert_complete(cache)


def test_several_at_once(server, cache):
    several = 4
    all_here = threading.Barrier(several)
    body = tgz(wanted())

    def together(handler):
        all_here.wait(20)
        handler.answer(body)

    server.routes["/t"] = together
    outcomes = []

    def fetch():
        outcomes.append(download.fetch_ptb(server.url("/t"), cache, MD5))

    threads = [threading.Thread(target=fetch) for _ in range(several)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [cache / "ptb"] * several
    assert_complete(cache)


# Where the cache is.


def test_fetch_uses_the_default_cache_folder(server, cache, monkeypatch):
    monkeypatch.setenv("PTB_LM_CACHE", str(cache))
    corpus = download.fetch_ptb(server.serve(tgz(wanted())), md5=MD5)
    assert corpus == cache / "ptb"
    assert_complete(cache)


def test_defaults_are_mikolovs():
    assert download.PTB_URL.endswith("/simple-examples.tgz")
    assert download.PTB_MD5 == {
        "ptb.train.txt": "f26c4b92c5fdc7b3f8c7cdcb991d8420",
        "ptb.valid.txt": "aa0affc06ff7c36e977d7cd49e3839bf",
        "ptb.test.txt": "8b80168b89c18661a38ef683c0dc3721",
    }


def test_imports_nothing_heavy():
    code = (
        "import sys; import ptb_lm.data.download;"
        "sys.exit(bool({'tensorflow', 'absl', 'numpy', 'keras'} & set(sys.modules)))"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
