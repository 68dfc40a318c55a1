"""Archives like simple-examples.tgz, in memory, from members good and bad."""

import gzip
import io
import tarfile

CORPUS = {
    "ptb.train.txt": b" the cat sat on the mat \n" * 40,
    "ptb.valid.txt": b" the dog sat \n" * 10,
    "ptb.test.txt": b" a mat \n",
}
DATA = "simple-examples/data/"


def plain(name, contents):
    """A member that is a file."""
    info = tarfile.TarInfo(name)
    info.size = len(contents)
    return info, contents


def special(name, kind, linkname=""):
    """A member of another kind: a link, a folder, a device."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = linkname
    return info, b""


def wanted(prefix=DATA, leave_out=()):
    """The members that a download needs."""
    return [
        plain(prefix + name, text)
        for name, text in CORPUS.items()
        if name not in leave_out
    ]


def tar_bytes(members, tar_format=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for info, contents in members:
            tar.addfile(info, io.BytesIO(contents))
    return buffer.getvalue()


def tgz(members):
    return gzip.compress(tar_bytes(members))
