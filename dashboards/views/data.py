"""Dataset versions: what there is, rows, figures, what changed between two, and what was found of benchmarks in them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import streamlit as st

from components.contamination import found as contaminated
from components.data import diff, profile, records
from components.data.prepare import SPLITS
from dashboards import ui
from dashboards.parts import changes, contamination, paging, versions
from dashboards.ui import charts, export, numbers, page_state, safe, states, tables
from dashboards.ui.text import t

SECTIONS = ("rows", "figures", "diff", "contamination")
_PAGE = 10


def page() -> None:
    """Draws the page."""
    st.title(t("ui.page_data"))
    found = _versions(str(ui.settings().root), str(Path.cwd()))
    if not found:
        states.empty(t("data.none"), t("data.none_todo"), "lapidar data build quickstart", ":material/dataset:")
        return
    names = list(dict.fromkeys(version.name for version in found))
    here = next((version.name for version in found if version.cached), names[0])
    asked = page_state.get("version", here, names)
    chosen = st.selectbox(
        t("data.version"), names, index=names.index(asked), format_func=lambda name: _label(found, name), key="data-version"
    )
    page_state.put(version=chosen)
    with st.expander(t("data.all", n=len(found)), icon=":material/list:"):
        st.dataframe([_listed(each) for each in found], hide_index=True, width="stretch")
        export.download([each.dump() for each in found], "dataset-versions")
    section = st.segmented_control(
        t("data.section"),
        SECTIONS,
        default=page_state.get("section", "rows", SECTIONS),
        format_func=lambda name: t(f"data.section_{name}"),
        label_visibility="collapsed",
        required=True,
        key="data-section",
    )
    page_state.put(section=None if section == "rows" else section)
    with states.guarded(t("data.not_here")):
        if section == "diff":
            _diff(chosen, found)
        elif section == "contamination":
            _contamination(next(each.md5 for each in found if each.name == chosen))
        else:
            _content(chosen, str(section))


def _listed(version: diff.Version) -> dict[str, str]:
    """A version's line in the table of all."""
    return {
        t("data.version"): version.name,
        t("data.source"): version.method or "–",
        t("data.size"): numbers.size(version.size),
        t("data.here"): "✓" if version.cached else t("data.elsewhere"),
        t("data.date"): (version.date or "–")[:10],
        t("data.subject"): safe.visible(version.subject or "–"),
        "md5": version.md5[:12],
    }


def _label(found: list[diff.Version], name: str) -> str:
    one = next(each for each in found if each.name == name)
    here = "" if one.cached else f" · {t('data.elsewhere')}"
    return f"{name} · {one.method or '–'} · {numbers.size(one.size)}{here}"


def _content(name: str, section: str) -> None:
    """One split of a version: its rows, or its figures."""
    with diff.content(name, ui.settings(), Path.cwd()) as (_, files):
        splits = [split for split in SPLITS if f"{split}.jsonl" in files]
        asked = page_state.get("split", splits[0], splits)
        split = st.segmented_control(t("data.split"), splits, default=asked, required=True, key="data-split")
        if split != asked:
            page_state.put(page=None)
        page_state.put(split=None if split == splits[0] else split)
        path = files[f"{split}.jsonl"]
        known = _profile(str(path), path.stat().st_mtime_ns)
        if section == "figures":
            _figures(known)
            return
        number = paging.turn(-(-known.rows // _PAGE), known.rows)
        for row in islice(records.read(path), (number - 1) * _PAGE, number * _PAGE):
            with st.container(border=True):
                st.markdown(safe.name(str(row.get("id", "–"))))
                changes.fields({name: value for name, value in row.items() if name != "id"})


def _figures(known: profile.Profile) -> None:
    left, right = st.columns(2)
    left.metric(t("data.rows"), numbers.number(known.rows), border=True)
    right.metric(t("data.repeated"), numbers.number(known.repeated), border=True)
    st.markdown(f"##### {t('data.lengths')}")
    tables.draw(
        [
            {t("data.field"): n, **{t(f"data.at_{k}"): v[k] for k in ("least", "median", "p95", "most")}}
            for n, v in known.lengths.items()
        ]
    )
    places = st.columns(2)
    varied = [(name, spread) for name, spread in known.lengths.items() if spread["least"] < spread["most"]]
    for number, (name, spread) in enumerate(varied):
        rows = [{"low": low, "high": high, "rows": count} for low, high, count in spread["bins"]]
        chart = charts.histogram(rows, "low", "high", "rows", (f"{name}: {t('data.words')}", t("data.rows")))
        with places[number % 2]:
            charts.draw(chart, height=190, key=f"length-{name}", alt_text=f"{name}: {t('data.words')}")
    for name, counts in known.labels.items():
        st.markdown(f"##### {t('data.label')}: {safe.plain(name)}")
        rows = [{"value": safe.visible(value), "rows": count} for value, count in counts.items()]
        chart = charts.counts(rows, "value", "rows", t("data.rows"))
        charts.draw(chart, height=60 + 24 * len(rows), key=f"label-{name}", alt_text=name)
    if known.duplicates:
        st.markdown(f"##### {t('data.duplicates')}")
        st.dataframe(
            [{t("data.rows"): count, t("data.text"): safe.visible(text)} for text, count in known.duplicates],
            hide_index=True,
            width="stretch",
        )


def _diff(chosen: str, found: list[diff.Version]) -> None:
    """Rows that the version has more, less, or otherwise than another one."""
    md5s = {each.name: each.md5 for each in found}
    others = [name for name in md5s if name != chosen]
    if not others:
        st.caption(t("data.no_other"))
        return
    asked = page_state.get("with", others[0], others)
    other = st.selectbox(
        t("data.since"), others, index=others.index(asked), key="data-with", format_func=lambda name: _label(found, name)
    )
    page_state.put(**{"with": other})
    changes.draw(other, chosen, (md5s[other], md5s[chosen]), "diff")


def _contamination(md5: str) -> None:
    """What the runs of registered versions found in this dataset."""
    for version in versions.all_versions():
        if version.tags.get("lapidar.dataset.md5") == md5:
            evidence = versions.shown(version.uri)["evidence"]
            page_state.link("evaluation", version.uri, {"model": version.name, "version": version.version})
            contamination.draw(evidence["contamination"], contaminated.matches(evidence, ui.settings()))
            return
    states.empty(t("data.not_searched"), t("data.not_searched_todo"), "lapidar contamination data/sft.jsonl SUITE")


@st.cache_data(ttl=30, show_spinner=False)
def _versions(home: str, project: str) -> list[diff.Version]:
    return diff.versions(ui.settings(), Path(project))


@st.cache_data(ttl=3600, max_entries=32)
def _profile(path: str, changed: int) -> profile.Profile:
    return profile.profile(Path(path))
