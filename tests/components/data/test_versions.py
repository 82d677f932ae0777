"""Versions with real DVC and git: md5s, recovery after kills, a local remote, private versions, diffs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.artifacts import DatasetRef
from components.data import diff, prepare, versions
from components.data.sources.wordproblems import Config
from components.data.tracked import folder_md5
from components.data.workspace import Workspace
from components.errors import InputError, LapidarError
from components.settings import Settings

Make = Callable[..., Config]


def dvc(folder: Path, settings: Settings, *arguments: str) -> str:
    home = Workspace(folder, settings)
    with home.locked():
        return home.run(*arguments)


@pytest.fixture
def built(template: Path, small: Make, settings: Settings, project: Path) -> DatasetRef:
    """The version that ``project`` has."""
    shutil.copytree(template, project, dirs_exist_ok=True)
    ref = versions.find(small(path="data"), settings, project)
    assert ref is not None
    return ref


def test_our_md5_is_the_one_that_dvc_computes(tmp_path: Path, settings: Settings) -> None:
    dvc_root = tmp_path / "w"
    (dvc_root / "data" / "sub").mkdir(parents=True)
    (dvc_root / "data" / "b é.jsonl").write_bytes(b'{"text": "caf\xc3\xa9"}\r\n')
    (dvc_root / "data" / "a.jsonl").write_bytes(b"")
    (dvc_root / "data" / "sub" / "z").write_bytes(os.urandom(5000))
    dvc(dvc_root, settings, "init", "--no-scm", "-q", "-f")
    dvc(dvc_root, settings, "add", "-q", "data")
    known = Workspace(dvc_root, settings).tracked("data")
    assert known == folder_md5(dvc_root / "data")
    assert known is not None
    assert known.files == 3


def test_build_tracks_data_and_running_uses_it(built: DatasetRef, small: Make, settings: Settings, project: Path) -> None:
    ref = versions.ensure(small(path="data"), settings, project)
    assert ref == built
    assert (ref.path, ref.repository, ref.revision) == (project / "data", project, None)
    assert ref.splits["sft"].rows == 60
    assert ref.splits["heldout"].kind == "prompts"
    assert not versions.build(small(path="data"), settings, project).changed
    assert "path: data" in (project / "data.dvc").read_text()
    assert (project / ".gitignore").read_text() == "/data/\n/.lapidar/\n"


def test_revision_is_the_commit(
    built: DatasetRef, small: Make, settings: Settings, project: Path, commit: Callable[[str], str]
) -> None:
    revision = commit("data")
    assert versions.ensure(small(path="data"), settings, project).revision == revision


def test_missing_data_comes_from_the_cache(built: DatasetRef, small: Make, settings: Settings, project: Path) -> None:
    shutil.rmtree(project / "data")
    assert versions.find(small(path="data"), settings, project) is None
    assert versions.ensure(small(path="data"), settings, project) == built


def test_missing_data_and_cache_are_built_again_with_the_same_md5(
    built: DatasetRef, small: Make, settings: Settings, project: Path
) -> None:
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    before = (project / "data.dvc").read_bytes()
    assert versions.ensure(small(path="data"), settings, project) == built
    assert (project / "data.dvc").read_bytes() == before
    assert Workspace(project, settings).cached(built.md5) is not None


def test_building_again_to_another_md5_names_both(built: DatasetRef, small: Make, settings: Settings, project: Path) -> None:
    file = project / "data.dvc"
    other = "0" * 32 + ".dir"
    file.write_text(file.read_text().replace(built.md5, other))
    shutil.rmtree(project / "data")
    with pytest.raises(InputError) as caught:
        versions.ensure(small(path="data"), settings, project)
    assert built.md5 in str(caught.value)
    assert other in str(caught.value)
    assert "lapidar data build" in str(caught.value)
    assert not (project / "data").exists()


def test_data_that_does_not_match_is_refused_and_build_saves_it(
    built: DatasetRef, small: Make, settings: Settings, project: Path
) -> None:
    (project / "data" / "notes.txt").write_text("my own")
    found = folder_md5(project / "data").md5
    with pytest.raises(InputError) as caught:
        versions.ensure(small(path="data"), settings, project)
    said = str(caught.value)
    assert built.md5 in said
    assert found in said
    assert "dvc checkout data.dvc" in said
    assert "lapidar data build" in said
    again = versions.build(small(path="data"), settings, project)
    assert not again.changed
    assert again.ref == built
    assert again.replaced is not None
    assert (again.replaced / "notes.txt").read_text() == "my own"


def test_data_that_is_no_folder_of_its_own_is_left_alone(
    built: DatasetRef, small: Make, settings: Settings, project: Path, tmp_path: Path
) -> None:
    place = project / "data"
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert versions.ensure(small(path="data"), settings, project).md5 == built.md5
    with pytest.raises(InputError, match=rf"data is a link to {tmp_path / 'elsewhere'}, .* move it away and build again"):
        versions.build(small(path="data", sft=70), settings, project)
    assert place.is_symlink()
    assert (tmp_path / "elsewhere" / "sft.jsonl").exists()
    place.unlink()
    place.write_text("mine")
    with pytest.raises(InputError, match="data is a file"):
        versions.build(small(path="data"), settings, project)
    assert place.read_text() == "mine"


def test_other_settings_make_a_private_version(built: DatasetRef, small: Make, settings: Settings, project: Path) -> None:
    ref = versions.ensure(small(path="data", seed=5), settings, project)
    assert ref.repository == settings.data
    assert ref.path.parent == settings.data
    assert ref.md5 != built.md5
    assert versions.ensure(small(path="data"), settings, project) == built
    (project / "data" / "extra").touch()  # doesn't concern the private one
    assert versions.ensure(small(path="data", seed=5), settings, project) == ref


def test_settings_are_compared_without_data_too(built: DatasetRef, small: Make, settings: Settings, project: Path) -> None:
    shutil.rmtree(project / "data")
    ref = versions.ensure(small(path="data", seed=5), settings, project)
    assert ref.repository == settings.data
    assert not (project / "data").exists()


def test_a_setting_that_came_after_the_version_has_its_default(
    built: DatasetRef, small: Make, settings: Settings, project: Path
) -> None:
    file = project / "data.dvc"
    file.write_text(file.read_text().replace("    unseen: 0.1\n", ""))
    shutil.rmtree(project / "data")
    assert versions.ensure(small(path="data"), settings, project) == built


def test_outside_a_project_everything_is_private_and_built_once(small: Make, settings: Settings, tmp_path: Path) -> None:
    ref = versions.ensure(small(path="data"), settings, tmp_path)
    stamp = (ref.path / "sft.jsonl").stat().st_mtime_ns
    assert versions.ensure(small(), settings, tmp_path / "elsewhere") == ref
    assert (ref.path / "sft.jsonl").stat().st_mtime_ns == stamp
    assert ref.revision is None
    mode = (settings.root / "dvc" / "site").stat().st_mode & 0o777
    assert mode == 0o700


def test_a_tampered_private_version_is_refused(small: Make, settings: Settings, tmp_path: Path) -> None:
    ref = versions.ensure(small(), settings, tmp_path)
    path = ref.file("sft")
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(InputError, match=r"delete .* to have it built again"):
        versions.ensure(small(), settings, tmp_path)
    shutil.rmtree(ref.path)
    assert versions.ensure(small(), settings, tmp_path) == ref


def test_a_private_version_with_a_torn_dvc_file_is_made_again(small: Make, settings: Settings, tmp_path: Path) -> None:
    ref = versions.ensure(small(), settings, tmp_path)
    (settings.data / f"{ref.path.name}.dvc").write_text("outs:\n- md5: 82")
    assert diff.versions(settings, tmp_path) == []
    assert versions.find(small(), settings, tmp_path) is None
    assert versions.ensure(small(), settings, tmp_path) == ref
    assert [v.md5 for v in diff.versions(settings, tmp_path)] == [ref.md5]


def test_an_input_file_that_changes_makes_a_new_version(tmp_path: Path, settings: Settings) -> None:
    from components.data.sources.files import Config as Files

    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "one"}\n')
    config = Files.model_validate({"files": {"corpus": {"path": str(path)}}, "heldout_share": 0})
    first = versions.ensure(config, settings, tmp_path)
    path.write_text('{"text": "two"}\n')
    second = versions.ensure(config, settings, tmp_path)
    assert first.path != second.path
    assert '"two"' in second.file("corpus").read_text()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "outs: []\n",
        "outs:\n- md5: nonsense\n  path: data\n",
        "outs:\n- md5: 826bc1662348de9fd3c7069c975fdf8e.dir\n  path: data\n",
    ],
)
def test_a_broken_data_dvc_is_named(built: DatasetRef, small: Make, settings: Settings, project: Path, content: str) -> None:
    (project / "data.dvc").write_text(content)
    with pytest.raises(InputError, match=r"data\.dvc names no DVC folder .*`git checkout data\.dvc`"):
        versions.ensure(small(path="data"), settings, project)


def test_push_to_and_pull_from_a_local_remote(
    small: Make, settings: Settings, project: Path, tmp_path: Path, commit: Callable[[str], str]
) -> None:
    dvc(project, settings, "remote", "add", "-d", "store", str(tmp_path / "remote"))
    pushed = versions.build(small(path="data"), settings, project)
    assert pushed.pushed == "store"
    commit("data")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(project), str(clone)], check=True)
    # another seed's settings would build other bytes: only a pull can give these
    elsewhere = Settings(home=tmp_path / "home2")
    elsewhere.prepare()
    (clone / "data.dvc").write_text((clone / "data.dvc").read_text().split("meta:")[0])
    ref = versions.ensure(small(path="data"), elsewhere, clone)
    assert ref.md5 == pushed.ref.md5
    assert ref.revision is not None
    assert Workspace(clone, elsewhere).cached(ref.md5) is not None


def test_a_remote_that_fails_keeps_the_version_and_falls_back_to_building(
    small: Make, settings: Settings, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    dvc(project, settings, "remote", "add", "-d", "store", str(tmp_path / "file" / "remote"))
    with pytest.raises(LapidarError, match=r"built and kept here, but not pushed to store: .* Not a directory: "):
        versions.build(small(path="data"), settings, project)
    shutil.rmtree(project / "data")
    shutil.rmtree(project / ".dvc" / "cache")
    assert versions.ensure(small(path="data"), settings, project).splits["sft"].rows == 60


def test_diff_and_list_over_git_workspace_and_private(
    small: Make, settings: Settings, project: Path, commit: Callable[[str], str]
) -> None:
    first = versions.build(small(path="data"), settings, project)
    old = commit("first")
    second = versions.build(small(path="data", sft=80), settings, project)
    new = commit("second")
    private = versions.ensure(small(seed=9), settings, project)
    listed = diff.versions(settings, project)
    assert [(v.name, v.where, v.md5, v.subject) for v in listed] == [
        ("workspace", "workspace", second.ref.md5, None),
        (new[:12], "git", second.ref.md5, "second"),
        (old[:12], "git", first.ref.md5, "first"),
        (private.path.name, "private", private.md5, None),
    ]
    assert all(v.cached and v.files == 6 and v.size > 10_000 for v in listed)
    found = diff.diff("HEAD~1", "workspace", settings, project)
    assert found["a"]["md5"] == first.ref.md5
    assert found["b"]["md5"] == second.ref.md5
    sft = found["splits"]["sft"]
    assert (sft["added"], sft["removed"], sft["changed"], sft["unchanged"]) == (20, 0, 0, 60)
    assert len(sft["samples"]["added"]) == 3
    pages = [diff.rows("HEAD~1", "workspace", "sft", "added", settings, project, offset, 8) for offset in (0, 8, 16)]
    assert [len(page) for page in pages] == [8, 8, 4]
    assert len({change.id for page in pages for change in page}) == 20
    assert "completion" in sft["samples"]["added"][0]
    assert diff.diff(first.ref.md5[:8], new[:12], settings, project)["splits"] == found["splits"]
    other = diff.diff("HEAD", private.path.name, settings, project)["splits"]["corpus"]
    assert other["added"] == other["removed"] == 300 - other["unchanged"] > 250


def test_changed_rows_are_found_by_id(built: DatasetRef, settings: Settings, project: Path, commit: Callable[[str], str]) -> None:
    commit("data")
    path = project / "data" / "sft.jsonl"
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    before = rows[0]["completion"]
    rows[0]["completion"] = "Edited."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]))
    sft = diff.diff("HEAD", "workspace", settings, project)["splits"]["sft"]
    assert (sft["added"], sft["removed"], sft["changed"], sft["unchanged"]) == (0, 1, 1, 58)
    assert sft["samples"]["changed"] == [rows[0]]
    [changed] = diff.rows("HEAD", "workspace", "sft", "changed", settings, project)
    assert changed.after == rows[0]
    assert changed.before == {**rows[0], "completion": before}
    [removed] = diff.rows("HEAD", "workspace", "sft", "removed", settings, project)
    assert (removed.id, removed.before, removed.after) == (rows[-1]["id"], rows[-1], None)


def test_rows_without_an_id_and_ids_that_stand_twice_are_all_counted(
    built: DatasetRef, settings: Settings, project: Path, commit: Callable[[str], str]
) -> None:
    commit("data")
    path = project / "data" / "sft.jsonl"
    first, _, *others = path.read_bytes().splitlines(keepends=True)
    bare = b"".join(json.dumps({"prompt": f"q{n}", "completion": "a"}).encode() + b"\n" for n in (1, 2, 2))
    path.write_bytes(first + first + b"".join(others) + bare)
    sft = diff.diff("HEAD", "workspace", settings, project)["splits"]["sft"]
    assert (sft["added"], sft["removed"], sft["changed"], sft["unchanged"]) == (4, 1, 0, 59)
    assert sft["samples"]["added"] == [json.loads(first), *({"prompt": f"q{n}", "completion": "a"} for n in (1, 2))]
    assert len(diff.rows("HEAD", "workspace", "sft", "added", settings, project)) == 4


def test_the_workspace_is_known_by_its_md5_also_where_no_cache_has_it(
    built: DatasetRef, settings: Settings, project: Path, commit: Callable[[str], str]
) -> None:
    commit("data")
    with (project / "data" / "sft.jsonl").open("ab") as file:
        file.write(b'{"prompt": "q", "completion": "a"}\n')
    md5 = folder_md5(project / "data").md5
    assert diff.diff("HEAD", md5[:10], settings, project)["splits"]["sft"]["added"] == 1


def test_a_commit_with_half_a_merge_is_left_out(
    built: DatasetRef,
    small: Make,
    settings: Settings,
    project: Path,
    commit: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, file = commit("good"), project / "data.dvc"
    text = file.read_text()
    file.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> theirs\n")
    bad = commit("bad")
    with pytest.raises(InputError, match=r"data\.dvc holds two versions, .* `git checkout --ours data\.dvc`"):
        versions.ensure(small(path="data"), settings, project)
    assert [v.name for v in diff.versions(settings, project)] == ["workspace", good[:12]]
    assert f"left out: data.dvc of {bad[:12]}" in caplog.text


def test_diff_fetches_what_only_the_remote_has(
    small: Make, settings: Settings, project: Path, tmp_path: Path, commit: Callable[[str], str]
) -> None:
    dvc(project, settings, "remote", "add", "-d", "store", str(tmp_path / "remote"))
    versions.build(small(path="data"), settings, project)
    commit("first")
    versions.build(small(path="data", sft=80), settings, project)
    commit("second")
    shutil.rmtree(project / ".dvc" / "cache")
    assert diff.diff("HEAD~1", "workspace", settings, project)["splits"]["sft"]["added"] == 20
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(project / ".dvc" / "cache", ignore_errors=True)
    shutil.rmtree(settings.root / "dvc", ignore_errors=True)
    with pytest.raises(InputError, match=r"HEAD~1 \(md5 .*\) can't be fetched from store: .* failed in .*: \w"):
        diff.diff("HEAD~1", "workspace", settings, project)


@pytest.mark.parametrize("name", ["nonsense", "--output=x", "deadbeef"])
def test_unknown_versions_are_named(built: DatasetRef, settings: Settings, project: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"no dataset version '{name}'"):
        diff.diff(name, "workspace", settings, project)


@pytest.mark.parametrize("torn", ["", '{"read": {"/x": [{"pid"', "[1]", '{"write": {"%s/data": {"pid": %d, "cmd": "dvc add"}}}'])
def test_what_a_killed_dvc_left_in_its_lock_file_is_repaired(small: Make, settings: Settings, project: Path, torn: str) -> None:
    """The last case names a living process that isn't DVC: a process id that was given away again."""
    (project / ".dvc" / "tmp").mkdir()
    text = torn % (project, os.getppid()) if "%s" in torn else torn
    (project / ".dvc" / "tmp" / "rwlock").write_text(text)
    assert versions.build(small(path="data"), settings, project).changed


BUILD = """
import sys
from pathlib import Path
from components.data import versions
from components.data.sources.wordproblems import Config
from components.settings import Settings
source = Config(path="data", corpus=20000, sft=60, preference=60, prompts=40, heldout=20, seed=int(sys.argv[3]))
versions.build(source, Settings(home=Path(sys.argv[1])), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_next_build_and_run_are_right(small: Make, settings: Settings, project: Path) -> None:
    """kill -9 while building, while data/ is swapped, and during ``dvc add``; one file after the other must be whole."""
    make = lambda seed: small(path="data", corpus=20_000, seed=seed)  # noqa: E731
    expected = {seed: versions.ensure(small(corpus=20_000, seed=seed), settings, project).md5 for seed in (1, 2)}
    versions.build(make(1), settings, project)
    moments = {"swapping": project / ".dvc" / "tmp" / "lapidar.building", "building": project / ".dvc" / "tmp" / "lapidar"}
    for number, (moment, delay) in enumerate([("building", 0.2), ("swapping", 0.0), ("swapping", 0.7)]):
        seed = 2 - number % 2
        process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(settings.root), str(project), str(seed)], start_new_session=True
        )
        until = time.monotonic() + 60
        while not moments[moment].exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for wanted in (3 - seed, seed):  # either version is found or made, whatever the kill left
            assert versions.ensure(make(wanted), settings, project).md5 == expected[wanted]
        assert versions.build(make(seed), settings, project).ref.md5 == expected[seed]
        prepare.validate(project / "data")
        assert not moments["swapping"].exists()
        assert not moments["building"].exists()


def test_data_that_a_kill_left_half_restored_is_restored_again(small: Make, settings: Settings, project: Path) -> None:
    md5 = versions.build(small(path="data"), settings, project).ref.md5
    (project / "data" / "corpus.jsonl").unlink()
    (project / ".dvc" / "tmp" / "lapidar.building").write_text(json.dumps({"md5": md5, "restoring": True}))
    assert versions.ensure(small(path="data"), settings, project).md5 == md5
    assert not (project / ".dvc" / "tmp" / "lapidar.building").exists()
    (project / "data" / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match="dvc checkout"):  # nobody restored it: somebody removed a file
        versions.ensure(small(path="data"), settings, project)


def test_two_processes_at_once_make_one_private_version(small: Make, settings: Settings, tmp_path: Path) -> None:
    code = BUILD.replace('path="data", corpus=20000', "corpus=2000")
    command = [sys.executable, "-c", code, str(settings.root), str(tmp_path), "3"]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert len(list(settings.data.glob("[!.]*.dvc"))) == 1


def test_a_disk_that_is_full_for_dvc_is_named(small: Make, tmp_path: Path) -> None:
    """DVC keeps hashes in SQLite, which has a sentence of its own for it."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        with pytest.raises(InputError, match=r"the disk of .* is full"):
            versions.ensure(small(), Settings(home=folder / "home"), tmp_path)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named(small: Make, settings: Settings, project: Path) -> None:
    """A file size limit stands for the full disk: the kernel refuses the write in the same place."""
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code + BUILD, str(settings.root), str(project), "1"], capture_output=True, text=True
    )
    assert f"InputError: the disk of {project} is full; free some space and run again" in done.stderr
    assert not (project / "data").exists()
    assert not (project / ".dvc" / "tmp" / "lapidar").exists()
