"""Child processes of real stages: how they fail, die and say so."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from components import events, launch
from components.artifacts import DatasetRef, Inputs, ModelRef
from components.errors import InputError, StageFailed, StageKilled
from components.inference.endpoint import EndpointError
from components.launch import Job
from components.main_module import main_hidden
from components.recipe import Recipe

PRETRAIN = {"max_steps": 60, "checkpoint_every": 10, "logging_every": 5}
LONGER: dict[str, Any] = {"max_steps": 200, "checkpoint_every": 20}
"""For kills, which come long before the end also where steps are quicker or the one who kills is late."""


@pytest.fixture
def pretrain(tiny_recipe: Recipe, tiny_data: DatasetRef, tmp_path: Path) -> Callable[..., Job]:
    """Makes jobs that pretrain the tiny base, a second or two of work."""

    def make(name: str = "work", **changes: Any) -> Job:
        config = {**tiny_recipe.model.pretrain.model_dump(mode="json"), **PRETRAIN, **changes}
        return Job("model", "pretrain", config, Inputs(tiny_data, {}), 0, "cpu", tmp_path / name, threads=1)

    return make


def working(process: psutil.Process, work: Path) -> bool:
    """Whether a process has the log of a work folder open."""
    with suppress(psutil.Error):
        return any(file.path == str(work / "log.txt") for file in process.open_files())
    return False


def child(work: Path) -> psutil.Process:
    """A process of ours that works in a folder."""
    for process in psutil.Process().children(recursive=True):
        if working(process, work):
            return process
    raise AssertionError(f"nobody works in {work}")


def gone(process: psutil.Process, seconds: float = 60.0) -> bool:
    limit = time.monotonic() + seconds
    with suppress(psutil.NoSuchProcess):  # it may go between the two questions
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > limit:
                return False
            time.sleep(0.02)
    return True


def at_step(job: Job, step: int, act: Callable[[psutil.Process], None]) -> Callable[[list[dict[str, Any]]], None]:
    """Acts on the child, once, as soon as it says that it is at a step."""
    acted: list[bool] = []

    def on_events(new: list[dict[str, Any]]) -> None:
        if not acted and any(event["kind"] == "progress" and event["done"] >= step for event in new):
            acted.append(True)
            act(child(job.work))

    return on_events


def weights(job: Job) -> str:
    return hashlib.sha256((job.out / "model" / "model.safetensors").read_bytes()).hexdigest()


def test_events_reach_the_parent_exactly_once(pretrain: Callable[..., Job]) -> None:
    job, heard = pretrain(), list[dict[str, Any]]()
    outcome = launch.run(job, heard.extend)
    assert 0 < outcome.seconds < 60
    assert 100 < outcome.peak_rss_mb < 4000
    assert heard == events.read(job.work / "events.jsonl")[0]
    assert heard == events.read(job.out / "log" / "events.jsonl")[0]
    assert [e["done"] for e in heard if e["kind"] == "progress"] == list(range(1, 61))
    assert {e["step"] for e in heard if e["kind"] == "metric" and e["name"] == "loss"} == set(range(5, 61, 5))
    launch.discard(job)
    assert not job.work.exists()


def test_wrong_input_keeps_its_kind_and_its_words(tmp_path: Path) -> None:
    source = tmp_path / "no-model"
    source.mkdir()
    job = Job(
        "model", "folder", {"method": "folder"}, Inputs(None, {"source": ModelRef(source, None, "")}), 0, "cpu", tmp_path / "work"
    )
    with pytest.raises(InputError) as caught:
        launch.run(job)
    assert str(caught.value) == f"{source} is no model: it has no config.json (expected a folder in Hugging Face layout)"


def test_what_derives_from_wrong_input_is_wrong_input_to_the_parent(tmp_path: Path) -> None:
    job = Job("model", "folder", {"method": "folder"}, Inputs(None, {}), 0, "cpu", tmp_path / "work")
    told = launch._failure(EndpointError("http://127.0.0.1:9/v1", "can't be reached", "start the server"), job)
    assert told["error"] == "InputError"
    assert told["message"] == "endpoint http://127.0.0.1:9/v1 can't be reached; start the server"


def test_a_diverging_training_fails_with_stage_and_log(pretrain: Callable[..., Job]) -> None:
    job = pretrain(lr=1e12, max_steps=10, logging_every=1, max_grad_norm=1e12)
    with pytest.raises(
        StageFailed, match=r"stage model/pretrain: (loss|grad_norm) is (nan|inf) at step \d+: training diverged; lower lr"
    ) as e:
        launch.run(job)
    assert not isinstance(e.value, StageKilled)
    assert str(e.value).endswith(f"; log: {job.work / 'log.txt'}")
    assert "Traceback" in (job.work / "log.txt").read_text()


def test_an_unforeseen_error_is_named(pretrain: Callable[..., Job]) -> None:
    job = pretrain()
    (job.work / "events.jsonl").mkdir(parents=True)
    with pytest.raises(StageFailed, match=r"stage model/pretrain: IsADirectoryError: .*events.jsonl'; log: "):
        launch.run(job)


def test_a_child_that_cannot_start_says_its_exit_code(pretrain: Callable[..., Job]) -> None:
    job = pretrain()
    (job.work / "lock").mkdir(parents=True)
    with pytest.raises(StageFailed, match="stage model/pretrain ended with exit code 1; run again"):
        launch.run(job)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGKILL, r"signal 9 \(out of memory\?\)"), (signal.SIGSEGV, "signal 11;")])
def test_a_killed_child_is_told_apart_with_the_end_of_its_log(pretrain: Callable[..., Job], number: int, words: str) -> None:
    job = pretrain(**LONGER)

    def kill(process: psutil.Process) -> None:
        with (job.work / "log.txt").open("a") as log:
            log.write("earlier words\nlast words\n")
        process.send_signal(number)

    with pytest.raises(StageKilled, match=words) as caught:
        launch.run(job, at_step(job, 5, kill))
    assert "run again to go on from its last checkpoint" in str(caught.value)
    assert str(job.work / "log.txt") in str(caught.value)
    assert str(caught.value).endswith("\n  earlier words\n  last words")


def test_a_killed_training_goes_on_to_the_weights_of_an_uninterrupted_one(pretrain: Callable[..., Job]) -> None:
    whole, killed = pretrain("whole", **LONGER), pretrain("killed", **LONGER)
    launch.run(whole)
    with pytest.raises(StageKilled):
        launch.run(killed, at_step(killed, 25, psutil.Process.kill))
    said, _ = events.read(killed.work / "events.jsonl")
    heard: list[dict[str, Any]] = []
    launch.run(killed, heard.extend)
    resumed = [e["done"] for e in heard[len(said) :] if e["kind"] == "progress"]
    assert resumed[0] > 20, "it began anew"
    assert resumed[-1] == 200
    assert weights(killed) == weights(whole)
    assert (killed.out / "metrics.json").read_bytes() == (whole.out / "metrics.json").read_bytes()


def test_a_torn_checkpoint_is_not_resumed_from(pretrain: Callable[..., Job]) -> None:
    whole, killed = pretrain("whole", **LONGER), pretrain("killed", **LONGER)
    launch.run(whole)
    with pytest.raises(StageKilled):
        launch.run(killed, at_step(killed, 45, psutil.Process.kill))
    marks = (killed.work / "checkpoints").glob("checkpoint-*/COMPLETE")
    newest = max((mark.parent for mark in marks), key=lambda path: int(path.name.rpartition("-")[2]))
    (newest / "COMPLETE").unlink()
    (newest / "model.safetensors").write_bytes(b"torn")
    launch.run(killed)
    assert weights(killed) == weights(whole)


def loaded(job: Job) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(job.out / "model" / "model.safetensors")


@pytest.mark.slow
def test_two_processes_train_the_model_of_one_with_twice_the_batch(pretrain: Callable[..., Job]) -> None:
    first_pass = {"max_steps": 20}  # behind it, one process takes a smaller last batch where two take rows twice
    alone = pretrain("alone", batch_size=8, **first_pass)
    together = pretrain("together", batch_size=4, processes=2, **first_pass)
    heard: list[dict[str, Any]] = []
    launch.run(alone)
    launch.run(together, heard.extend)
    there, here = loaded(alone), loaded(together)
    assert there.keys() == here.keys()
    apart = sum(float((there[name] - here[name]).abs().sum()) for name in here) / sum(here[name].numel() for name in here)
    assert apart < 1e-5, "Adam turns rounding into larger steps only where there is hardly a gradient"
    assert [e["done"] for e in heard if e["kind"] == "progress"] == list(range(1, 21))
    one, two = (json.loads((job.out / "metrics.json").read_text()) for job in (alone, together))
    assert two["tokens_seen"] == one["tokens_seen"]
    assert two["heldout_loss"] == pytest.approx(one["heldout_loss"], abs=1e-3)
    assert sorted(path.name for path in together.out.iterdir()) == sorted(path.name for path in alone.out.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_two_processes_of_which_one_is_killed_go_on_to_the_same_weights(pretrain: Callable[..., Job], number: int) -> None:
    longer = {**LONGER, "processes": 2}
    whole, killed = pretrain("whole", **longer), pretrain("killed", **longer)
    launch.run(whole)

    def kill(_: psutil.Process) -> None:
        family = sorted((p for p in psutil.Process().children(recursive=True) if working(p, killed.work)), key=lambda p: p.pid)
        assert len(family) == 2
        family[number].kill()

    with pytest.raises(StageKilled, match="signal 9"):
        launch.run(killed, at_step(killed, 25, kill))
    heard: list[dict[str, Any]] = []
    before = len(events.read(killed.work / "events.jsonl")[0])
    launch.run(killed, heard.extend)
    assert next(e["done"] for e in heard[before:] if e["kind"] == "progress") > 20, "it began anew"
    assert weights(killed) == weights(whole)


@pytest.mark.slow
def test_the_cause_is_told_not_that_the_other_process_lost_its_team(pretrain: Callable[..., Job]) -> None:
    job = pretrain(processes=2)
    (job.work / "process1" / "events.jsonl").mkdir(parents=True)
    with pytest.raises(StageFailed, match=r"stage model/pretrain: IsADirectoryError: .*events.jsonl'; log: "):
        launch.run(job)


def test_an_interrupted_parent_ends_its_child(pretrain: Callable[..., Job]) -> None:
    job = pretrain(max_steps=2000)
    processes: list[psutil.Process] = []

    def interrupt(process: psutil.Process) -> None:
        processes.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(job, at_step(job, 2, interrupt))
    assert gone(processes[0])


PARENT = """
import pickle, sys
from components import launch
launch.run(pickle.load(open(sys.argv[1], "rb")))
"""


@pytest.mark.slow
def test_a_child_and_its_warm_parent_die_with_the_flow(pretrain: Callable[..., Job], tmp_path: Path) -> None:
    import pickle

    job = pretrain(max_steps=5000)
    (tmp_path / "job").write_bytes(pickle.dumps(job))
    flow = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "job")])
    limit = time.monotonic() + 120
    while not any(e["kind"] == "progress" for e in events.read(job.work / "events.jsonl")[0]):
        assert flow.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.1)
    family = psutil.Process(flow.pid).children(recursive=True)
    assert child(job.work) in family
    flow.kill()
    flow.wait()
    assert all(gone(process) for process in family)
    launch.run(pretrain(max_steps=2))  # the same work folder is free again


COOLED = """
import psutil
from components import launch
launch.warm_up()
warm = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
launch.cool_down()
assert [p.is_running() for p in warm] == [False], warm
launch.cool_down()  # there is none: nothing to do
"""


@pytest.mark.slow
def test_the_warm_parent_can_be_ended() -> None:
    subprocess.run([sys.executable, "-c", COOLED], check=True)


def run_in_child(code: str) -> int:
    """Exit code of Python code in a process forked from the warm parent."""
    process = launch._context().Process(target=exec, args=(code,))
    with main_hidden():
        process.start()
    process.join()
    return int(process.exitcode)


NETWORK = """
import os, socket
from components import _warm
_warm.prepare_child(1, 0)
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close()
for address in (("192.0.2.1", 80), ("2001:db8::1", 80)):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        socket.socket(family).connect(address)
    except PermissionError as error:
        assert f"a stage may not talk to the network (tried {address[0]})" in str(error)
    else:
        os._exit(1)
os._exit(7)
"""


def test_a_stage_cannot_reach_the_network_but_its_own_machine() -> None:
    assert run_in_child(NETWORK) == 7


def test_hub_and_trackers_are_off_in_a_stage() -> None:
    code = """
import os
from components import _warm
_warm.prepare_child(3, 0)
import torch
from huggingface_hub.constants import is_offline_mode
assert is_offline_mode(), "transformers would ask the hub"
assert torch.get_num_threads() == 3
os._exit(7)
"""
    assert run_in_child(code) == 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of twelve mebibytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("free_kib", [0, 4, 80, 400, 900])
def test_a_full_disk_is_named_wherever_it_strikes(pretrain: Callable[..., Job], small_disk: Path, free_kib: int) -> None:
    """0: the log itself; then the checkpoint's weights, its optimizer, the output."""
    job = pretrain("disk/work", max_steps=4, checkpoint_every=2, logging_every=1)
    job.work.mkdir()
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)
    os.truncate(small_disk / "ballast", max(0, (small_disk / "ballast").stat().st_size - free_kib * 1024))
    with pytest.raises(InputError, match=r"the disk of .*work is full \(0 MiB free\); make room and run again"):
        launch.run(job)
    (small_disk / "ballast").unlink()
    launch.run(job)
    assert (job.out / "model" / "model.safetensors").is_file()
