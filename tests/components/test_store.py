"""Sealed outputs: what has a valid manifest is done, everything else never happened."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from components.errors import LapidarError
from components.store import MANIFEST, Store, content_digest, folder_hashes, stage_key

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def made(folder: Path, weights: bytes = b"weights", seconds: str = "1.5") -> Path:
    """A finished stage's folder."""
    (folder / "model").mkdir(parents=True)
    (folder / "log").mkdir()
    (folder / "model" / "model.safetensors").write_bytes(weights)
    (folder / "log" / "times.json").write_text(seconds)
    (folder / "metrics.json").write_text('{"loss": 1.5}')
    return folder


def seal(store: Store, folder: Path) -> str:
    return store.seal("sft", "sft", KEY, folder, {"seed": 0}).digest


def test_what_is_sealed_opens_with_its_digest_metrics_and_record(store: Store, tmp_path: Path) -> None:
    assert store.open("sft", "sft", KEY) is None
    digest = seal(store, made(tmp_path / "out"))
    found = store.open("sft", "sft", KEY)
    assert found is not None
    assert (found.digest, found.metrics, found.path) == (digest, {"loss": 1.5}, tmp_path / "store" / "sft" / KEY)
    assert store.record(found) == {"seed": 0}
    assert not (tmp_path / "out").exists()


def test_the_digest_leaves_out_the_log_and_nothing_else(tmp_path: Path) -> None:
    def digest(name: str, **changes: object) -> str:
        return content_digest(folder_hashes(made(tmp_path / name, **changes)))  # type: ignore[arg-type]

    assert digest("a") == digest("b", seconds="99")
    assert digest("c", weights=b"other") != digest("d")
    (tmp_path / "a" / "metrics.json").rename(tmp_path / "a" / "metric.json")
    assert content_digest(folder_hashes(tmp_path / "a")) != digest("e")


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "log", "manifest"])
def test_a_damaged_output_is_set_aside_and_made_again(store: Store, tmp_path: Path, damage: str) -> None:
    first = seal(store, made(tmp_path / "out"))
    path = store.path("sft", KEY)
    weights = path / "model" / "model.safetensors"
    if damage == "changed":
        weights.write_bytes(b"weightZ")
    elif damage == "missing":
        weights.unlink()
    elif damage == "added":
        (path / "model" / "model-2.safetensors").write_bytes(b"")
    elif damage == "log":
        (path / "log" / "times.json").write_text("")
    else:
        (path / MANIFEST).write_text("{")
    assert store.open("sft", "sft", KEY) is None
    assert not path.exists()
    assert path.with_name(f"{KEY}.damaged").is_dir()
    assert seal(store, made(tmp_path / "again")) == first
    assert store.open("sft", "sft", KEY) is not None


SEAL = """
import sys, time
from pathlib import Path
from components import store
synced = store._sync
def sync(path):
    synced(path)
    if path.name == sys.argv[3]:
        print("here", flush=True)
        time.sleep(600)
store._sync = sync
store.Store(Path(sys.argv[1])).seal("sft", "sft", "ab" * 32, Path(sys.argv[2]), {})
"""


@pytest.mark.parametrize("last", ["times.json", "metrics.json", "model.safetensors", MANIFEST])
def test_a_kill_while_sealing_leaves_nothing_that_opens(store: Store, tmp_path: Path, last: str) -> None:
    """Killed behind every step before the rename; the disk stands still there so that the kill meets the step."""
    out = made(tmp_path / "out")
    process = subprocess.Popen([sys.executable, "-c", SEAL, str(store.root), str(out), last], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    assert store.open("sft", "sft", KEY) is None
    assert not store.path("sft", KEY).exists()
    assert seal(store, made(tmp_path / "again"))
    assert store.open("sft", "sft", KEY) is not None


def test_an_output_without_a_manifest_does_not_block_its_key(store: Store, tmp_path: Path) -> None:
    """A folder that was copied half by hand, or by a file system that lost the manifest."""
    made(store.path("sft", KEY))
    assert store.open("sft", "sft", KEY) is None
    assert seal(store, made(tmp_path / "out"))
    assert store.open("sft", "sft", KEY) is not None
    (store.path("sft", KEY) / MANIFEST).unlink()
    assert seal(store, made(tmp_path / "out"))  # also when nobody looked before
    assert store.open("sft", "sft", KEY) is not None


def test_a_local_output_without_a_manifest_is_fetched_anew(tmp_path: Path) -> None:
    remote = f"file://{tmp_path / 'mirror'}"
    digest = seal(Store(tmp_path / "here", remote), made(tmp_path / "out"))
    there = Store(tmp_path / "there", remote)
    made(there.path("sft", KEY), weights=b"half")
    found = there.open("sft", "sft", KEY)
    assert found is not None
    assert found.digest == digest


def _seal_at(root: Path, folder: Path, when: float) -> None:
    time.sleep(max(0.0, when - time.time()))
    Store(root).seal("sft", "sft", KEY, folder, {})


def test_two_sealers_of_a_key_agree(store: Store, tmp_path: Path) -> None:
    when = time.time() + 0.5
    folders = [made(tmp_path / f"out{n}") for n in range(4)]
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_seal_at, args=(store.root, folder, when)) for folder in folders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert store.open("sft", "sft", KEY) is not None
    assert [path.name for path in store.path("sft", KEY).parent.iterdir()] == [KEY]
    assert not any(folder.exists() for folder in folders)


def test_a_mirror_has_it_where_the_folder_has_not(tmp_path: Path) -> None:
    remote = f"file://{tmp_path / 'mirror'}"
    digest = seal(Store(tmp_path / "here", remote), made(tmp_path / "out"))
    there = Store(tmp_path / "there", remote)
    found = there.open("sft", "sft", KEY)
    assert found is not None
    assert found.digest == digest
    assert (found.path / "model" / "model.safetensors").read_bytes() == b"weights"
    assert there.open("sft", "sft", "cd" * 32) is None


def test_a_mirror_without_the_manifest_has_nothing(tmp_path: Path) -> None:
    remote = f"file://{tmp_path / 'mirror'}"
    seal(Store(tmp_path / "here", remote), made(tmp_path / "out"))
    (tmp_path / "mirror" / "sft" / KEY / MANIFEST).unlink()
    assert Store(tmp_path / "there", remote).open("sft", "sft", KEY) is None


def test_a_damaged_mirror_is_not_believed(tmp_path: Path) -> None:
    remote = f"file://{tmp_path / 'mirror'}"
    seal(Store(tmp_path / "here", remote), made(tmp_path / "out"))
    (tmp_path / "mirror" / "sft" / KEY / "metrics.json").write_text('{"loss": 0.1}')
    there = Store(tmp_path / "there", remote)
    assert there.open("sft", "sft", KEY) is None
    assert not there.path("sft", KEY).exists()


def test_a_mirror_that_refuses_leaves_the_local_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "store", f"file://{tmp_path / 'file' / 'mirror'}")
    with pytest.raises(LapidarError, match=r"could not be copied to .* it is kept locally"):
        seal(store, made(tmp_path / "out"))
    assert Store(tmp_path / "store").open("sft", "sft", KEY) is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_seals_nothing(small_disk: Path) -> None:
    store = Store(small_disk / "store")
    out = made(small_disk / "out")
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 4096)
    with pytest.raises(OSError, match="No space left"):
        store.seal("sft", "sft", KEY, out, {})
    assert store.open("sft", "sft", KEY) is None
    (small_disk / "ballast").unlink()
    assert seal(store, out)  # what was made isn't lost
    assert store.open("sft", "sft", KEY) is not None


def test_every_part_decides_the_key() -> None:
    parts = dict(
        method="sft/sft", config={"lr": 1.0}, inputs={"model:model": "a"}, seed=0, code="c", versions={"torch": "1"}, device="cpu"
    )
    changes = dict(
        method="align/dpo",
        config={"lr": 2.0},
        inputs={"model:model": "b"},
        seed=1,
        code="d",
        versions={"torch": "2"},
        device="cuda",
    )
    keys = {stage_key(**parts)} | {stage_key(**{**parts, name: value}) for name, value in changes.items()}  # type: ignore[arg-type]
    assert len(keys) == 1 + len(changes)
    assert all(len(key) == 64 for key in keys)
