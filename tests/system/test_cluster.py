"""Workers find each other, compare, talk, and notice when one is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from ptb_lm.errors import UserError
from ptb_lm.system.cluster import Cluster, join
from ptb_lm.system.interrupts import Interrupted, Interrupts
from ptb_lm.system.workers import LOST, Alone
from tests.support.processes import free_addresses

FACTS = {"--hidden_size": 8, "the text": "abc"}


# --- TF_CONFIG --------------------------------------------------------------------


def read(monkeypatch, config):
    text = config if isinstance(config, str) else json.dumps(config)
    monkeypatch.setenv("TF_CONFIG", text)
    return Cluster.from_environment()


def config(task=("worker", 0), **jobs):
    return {"cluster": jobs, "task": {"type": task[0], "index": task[1]}}


def test_without_other_workers_there_is_no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert Cluster.from_environment() is None
    assert read(monkeypatch, "") is None and read(monkeypatch, "{}") is None
    assert read(monkeypatch, config(worker=["a:1"])) is None


def test_the_chief_is_the_first(monkeypatch):
    found = read(monkeypatch, config(("worker", 1), worker=["a:1", "b:2"]))
    assert found == Cluster(("a:1", "b:2"), 1)
    jobs = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    assert read(monkeypatch, config(("chief", 0), **jobs)).index == 0
    found = read(monkeypatch, config(("worker", 1), **jobs))
    assert found == Cluster(("c:3", "a:1", "b:2"), 2)
    assert found.name(0) == "the chief (c:3)" and found.name(2) == "worker 2 (b:2)"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{", "not as it should be"),
        ("[]", "not as it should be"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', "not as it should be"),
        ('{"cluster": {"worker": 3}, "task": {}}', "not as it should be"),
        (config(worker=["a:1", "b:1"], ps=["c:1"]), "has the job ps"),
        (config(("worker", 2), worker=["a:1", "b:1"]), "is not in the cluster"),
        (config(("evaluator", 0), worker=["a:1", "b:1"]), "is not in the cluster"),
        (config(worker=["a:1", "b"]), "b is not HOST:PORT"),
        (config(worker=["a:1", "b:99999"]), "b:99999 is not HOST:PORT"),
    ],
)
def test_what_is_no_cluster_is_refused(monkeypatch, value, expected):
    with pytest.raises(UserError, match=expected):
        read(monkeypatch, value)


# --- Meeting ----------------------------------------------------------------------


class Meeting:
    """Workers that meet in threads of this process."""

    def __init__(self, addresses):
        self.addresses = tuple(addresses)

    def join(self, *facts, seconds=20.0):
        """Joins with these facts, one worker each; returns workers or errors."""
        found = [None] * len(facts)

        def start(index):
            try:
                cluster = Cluster(self.addresses, index)
                found[index] = join(cluster, facts[index], seconds)
            except UserError as error:
                found[index] = str(error)

        threads = [
            threading.Thread(target=start, args=(index,)) for index in range(len(facts))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def together(self, *works):
        """Joins, and has every worker do its work at the same time."""
        workers = self.join(*[FACTS] * len(works))
        results = [None] * len(works)

        def do(index):
            with workers[index]:
                try:
                    results[index] = works[index](workers[index])
                except Interrupted as interruption:
                    results[index] = interruption.signal_number

        threads = [
            threading.Thread(target=do, args=(index,)) for index in range(len(works))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def test_every_worker_has_the_values_of_all():
    def work(workers):
        assert workers.count == 3
        return [workers.collect(workers.index + n) for n in range(50)]

    expected = [[n, n + 1, n + 2] for n in range(50)]
    assert Meeting(free_addresses(3)).together(work, work, work) == [expected] * 3


class Score(dict):
    """A result as `from_chief` takes it."""

    def to_json(self):
        return dict(self)

    from_json = classmethod(lambda cls, values: cls(values))


def test_every_worker_has_the_result_of_the_chief():
    def work(workers):
        score = workers.from_chief(lambda: Score(index=workers.index), Score)
        return score, workers.from_chief(lambda: None, Score)

    results = Meeting(free_addresses(2)).together(work, work)
    assert results == [(Score(index=0), None)] * 2


def test_a_signal_to_one_stops_all_at_the_same_point():
    def work(workers):
        interrupts = Interrupts()
        for number in range(9):
            if workers.index == 1 and number == 4:
                interrupts._remember(signal.SIGTERM, None)
            try:
                workers.check(interrupts)
            except Interrupted as interruption:
                return number, interruption.signal_number
        return None

    assert Meeting(free_addresses(2)).together(work, work) == [(4, signal.SIGTERM)] * 2


def test_a_signal_to_one_that_waits_stops_the_chief_at_work():
    def work(workers):
        interrupts = Interrupts()
        workers.watch(interrupts)
        if workers.index == 1:
            interrupts._remember(signal.SIGINT, None)

        def score():
            while True:
                workers.check_meanwhile(interrupts)
                time.sleep(0.01)

        return workers.from_chief(score, Score)

    assert Meeting(free_addresses(2)).together(work, work) == [signal.SIGINT] * 2


def test_one_alone_talks_to_nobody():
    with Alone() as alone:
        assert alone.is_chief and alone.collect(3) == [3]
        assert alone.from_chief(lambda: 4, None) == 4
        alone.check(Interrupts())


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ({"--hidden_size": 9}, "--hidden_size 9 there, 8 with the chief"),
        ({"the text": "abd"}, "the text abd there, abc with the chief"),
        ({"--new": 1}, "--new 1 there, None with the chief"),
    ],
)
def test_a_worker_that_differs_is_refused(theirs, expected):
    found = Meeting(free_addresses(3)).join(FACTS, FACTS, FACTS | theirs)
    assert f"differs: {expected}; every worker needs the same command" in found[0]
    assert found[1:] == [f"{found[1].split(' refuses')[0]} refuses: {found[0]}"] * 2


def test_a_worker_that_does_not_come_is_named():
    addresses = free_addresses(3)
    found = Meeting(addresses).join(FACTS, FACTS, seconds=1.0)
    assert f"worker 2 ({addresses[2]}) did not come in time" in found[0]
    assert found[0] in found[1]


def test_a_chief_that_is_not_there_is_named():
    addresses = free_addresses(2)
    with pytest.raises(UserError, match=r"the chief \(.*cannot be reached: "):
        join(Cluster(tuple(addresses), 1), FACTS, 1.0)
    with pytest.raises(UserError, match=r"no\.such\.host"):
        join(Cluster(("no.such.host:1", addresses[1]), 1), FACTS, 1.0)


def test_a_worker_whose_address_is_another_is_refused(monkeypatch):
    """The chief finds something else there than the worker that has come."""
    addresses = free_addresses(3)
    wrong = [addresses[0], addresses[2]]  # as the chief has them
    with socket.create_server(("", int(addresses[2].rpartition(":")[2]))) as other:
        answer = threading.Thread(target=_say_something_else, args=(other,))
        answer.start()
        found = [None, None]

        def start(index, places):
            try:
                found[index] = join(Cluster(tuple(places), index), FACTS, 20.0)
            except UserError as error:
                found[index] = str(error)

        threads = [
            threading.Thread(target=start, args=(0, wrong)),
            threading.Thread(target=start, args=(1, addresses[:2])),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answer.join()
    assert f"at {addresses[2]} is something else than worker 1" in found[0]
    assert found[0] in found[1]


def _say_something_else(listener):
    opened, _ = listener.accept()
    with opened:
        opened.sendall(b'["token", "another"]\n')


def test_a_port_that_is_taken_is_refused():
    address = free_addresses(1)[0]
    port = int(address.rpartition(":")[2])
    with (
        socket.create_server(("", port)),
        pytest.raises(UserError, match=f"cannot listen on port {port}"),
    ):
        join(Cluster((address, "localhost:1"), 0), FACTS, 1.0)


def test_strangers_are_not_workers():
    """A port scanner, or a browser, does not disturb the meeting."""
    addresses = free_addresses(2)
    port = int(addresses[0].rpartition(":")[2])

    def strangers():
        for line in (b"GET / HTTP/1.1\r\n\r\n", b'["greeting", {}]\n', b""):
            for _ in range(100):
                try:
                    with socket.create_connection(("localhost", port), 1) as opened:
                        opened.sendall(line)
                    break
                except OSError:
                    time.sleep(0.05)

    disturbing = threading.Thread(target=strangers)
    disturbing.start()
    time.sleep(0.3)
    cluster = [Cluster(tuple(addresses), index) for index in range(2)]
    chief = []
    waiting = threading.Thread(
        target=lambda: chief.append(join(cluster[0], FACTS, 20.0))
    )
    waiting.start()
    disturbing.join()
    worker = join(cluster[1], FACTS, 20.0)
    waiting.join()
    assert chief[0].count == worker.count == 2
    with worker, chief[0]:
        pass


# --- The end of one ---------------------------------------------------------------

WORKER = """
import sys, time
from ptb_lm.errors import UserError
from ptb_lm.system.cluster import Cluster, join
index, how, *addresses = sys.argv[1:]
workers = join(Cluster(tuple(addresses), int(index)), {}, 30.0)
with workers:
    workers.collect(1)
    print("met", flush=True)
    if how == "wait":
        workers._receive(0)
    if how == "hang":
        time.sleep(600)
    if how == "mistake":
        raise UserError("the disk is full")
    if how == "bug":
        raise KeyError("x")
"""


def start(index, how, addresses):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(index), how, *addresses],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", [0, 1])
@pytest.mark.parametrize("how", ["hang", "wait"])
def test_the_others_end_when_one_is_killed(ending, how):
    addresses = free_addresses(3)
    processes = [
        start(index, "hang" if index == ending else how, addresses)
        for index in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "met\n"
    processes[ending].kill()
    begin = time.monotonic()
    for index, process in enumerate(processes):
        _, said = process.communicate(timeout=60)
        if index != ending:
            assert process.returncode == LOST
            (line,) = said.splitlines()
            assert "has ended; the same command goes on from the last" in line
            assert addresses[ending] in line
    assert time.monotonic() - begin < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said", "status"),
    [
        ("mistake", "has ended: the disk is full", 2),
        ("bug", "has ended: KeyError('x')", 2),
        ("bye", "", None),
    ],
)
def test_the_others_are_told_why_one_ends(how, said, status):
    addresses = free_addresses(2)
    chief, worker = start(0, how, addresses), start(1, "hang", addresses)
    chief.communicate(timeout=60)
    if status is None:  # it may go on, as long as it needs nobody
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(1.0)
        worker.kill()
    _, found = worker.communicate(timeout=60)
    if status is not None:
        assert worker.returncode == status
        (line,) = found.splitlines()
        assert f"the chief ({addresses[0]}) {said}" in line
