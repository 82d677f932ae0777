"""Ingestion with a real Prefect server: a new version is said to be one, and an old one isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError

RECIPE = """\
name: small
data: {method: wordproblems, corpus: 200, sft: 40, preference: 40, prompts: 40, heldout: 10}
"""


@pytest.mark.slow
def test_ingest_says_whether_the_version_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.testing.utilities import prefect_test_harness

    from flows.ingest import ingest

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPIDAR_HOME", str(tmp_path / "home"))
    (tmp_path / "small.yaml").write_text(RECIPE)
    with prefect_test_harness(server_startup_timeout=120):
        first = ingest("small.yaml")
        again = ingest("small.yaml")
        other = ingest("small.yaml", ["data.seed=4"])
        with pytest.raises(InputError, match="no recipe 'nothing'"):  # at once: wrong input isn't tried again
            ingest("nothing")
    assert (first["changed"], again["changed"], other["changed"]) == (True, False, True)
    assert first["md5"] == again["md5"] != other["md5"]
