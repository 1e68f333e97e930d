"""What happens to workers when their parent goes, with real processes on both ways that platforms take."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_worker
import pytest
from fake_worker import count, gone, is_running

from batchscore import lifeline
from batchscore.lifeline import Exit

PARENT = """
import sys, threading
from pathlib import Path
from fake_worker import batch, spec
from batchscore.slots import Slots
folder, letters, loads, start = Path(sys.argv[1]), *sys.argv[2:]
slots = Slots(spec(folder, letters, loads=loads, start=start), 2, folder)
slots.start()
threads = [threading.Thread(target=slots.ask, args=(batch(), 60), daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
slots.ready()
(folder / "idle").touch()
threading.Event().wait()
"""

MODES = pytest.mark.parametrize("mode", ["", "watcher"])


@pytest.fixture(params=["each", "loader"])
def way(request):
    """In which workers are started."""
    return request.param


@pytest.fixture
def parent(tmp_path, monkeypatch, way):
    """Start a parent of two workers, and wait for a sign of life."""
    started = []

    def start(mode, letters, sign, number, loads=""):
        monkeypatch.setenv(lifeline.MODE_VARIABLE, mode)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(fake_worker.__file__).parent), str(Path.cwd())]))
        process = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path, letters, loads, way])
        started.append(process)
        deadline = time.monotonic() + 60
        while not (tmp_path / sign).exists() or count(tmp_path, sign) < number:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def descendants(pid):
    """The processes that a process and its children started."""
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += map(int, (task / "children").read_text().split())
    return children + [grandchild for child in children for grandchild in descendants(child)]


@MODES
@pytest.mark.parametrize(
    ("letters", "sign", "number"),
    [("SS", "idle", 0), ("HH", "calls", 2), ("GG", "hanging", 1), ("66", "hanging", 1)],
    ids=["idle", "sleeping", "hanging in C with the GIL", "blocking signals"],
)
def test_workers_and_their_children_die_with_a_killed_parent(parent, mode, letters, sign, number, way):
    process = parent(mode, letters, sign, number)
    time.sleep(0.1)
    workers = descendants(process.pid)
    assert len(workers) >= 2 + (letters == "GG") + 2 * (mode == "watcher") + (way == "loader")
    process.kill()
    assert gone(*workers)


@MODES
def test_a_worker_that_still_loads_dies_too(parent, mode, way):
    process = parent(mode, "", "loads", 2 if way == "each" else 1, "HH")
    workers = descendants(process.pid)
    process.kill()
    assert gone(*workers)


@MODES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_the_parent_ends_its_workers(parent, mode, number):
    process = parent(mode, "GG", "hanging", 1)
    workers = descendants(process.pid)
    process.send_signal(number)
    process.wait(fake_worker.PATIENCE)
    assert gone(*workers)


@MODES
def test_a_living_parent_kills_nobody(parent, mode):
    process = parent(mode, "SS", "idle", 0)
    workers = descendants(process.pid)
    time.sleep(0.5)
    assert all(map(is_running, workers))


@MODES
def test_a_parent_that_went_before_the_lifeline_was_tied_is_noticed(mode):
    reading, writing = os.pipe()
    os.close(writing)
    code = f"import time; from batchscore import lifeline; lifeline.die_with_parent({reading}); time.sleep(60)"
    environment = {**os.environ, lifeline.MODE_VARIABLE: mode}
    process = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[reading], start_new_session=True, env=environment
    )
    os.close(reading)
    assert process.wait(fake_worker.PATIENCE) == -signal.SIGKILL


def test_a_platform_without_the_kernels_help_takes_the_watcher(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert not lifeline._let_the_kernel_kill(0)


def test_a_platform_that_can_not_wait_without_collecting_says_so_and_collects_once_it_has_ended(monkeypatch):
    monkeypatch.setenv(lifeline.MODE_VARIABLE, "watcher")
    process = subprocess.Popen(["sleep", "60"])
    assert not lifeline.wait_for_end(process.pid)
    assert lifeline.collect(process.pid) is None
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exited with code 0"), (-9, "was killed by SIGKILL"), (-40, "was killed by signal 40"), (None, "ended")],
)
def test_how_a_process_ended_in_words(code, words):
    assert str(Exit(code, 0)) == words


def test_an_end_is_awaited_without_collecting_it():
    process = subprocess.Popen(["sh", "-c", "exit 7"])
    assert lifeline.wait_for_end(process.pid)
    assert Path(f"/proc/{process.pid}").exists()
    ending = lifeline.collect(process.pid)
    process.returncode = ending.code
    assert ending.code == 7
    assert ending.peak_rss > 0
    assert lifeline.collect(process.pid) == Exit(None, 0)
    assert lifeline.wait_for_end(process.pid)
    lifeline.kill_group(process.pid)
    assert lifeline.peak_rss(process.pid) == 0


@pytest.mark.parametrize(("wanted", "allowed"), [(100, 150), (300, 300), (5000, 400)])
def test_more_files_may_be_open_where_many_workers_need_them_and_the_system_allows_it(wanted, allowed):
    program = (
        "import resource as r; from batchscore import lifeline; r.setrlimit(r.RLIMIT_NOFILE, (150, 400)); "
        f"lifeline.allow_descriptors({wanted}); print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"({allowed}, 400)\n"
