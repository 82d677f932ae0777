"""Tables of values: numbers show the reader's signs and few digits, and still sort as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboards.ui import numbers


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as wide as their place; values are kept as they are, only what is shown of decimals is formatted."""
    decimals = list(dict.fromkeys(name for row in rows for name, value in row.items() if isinstance(value, float)))
    shown: Any = rows
    if decimals:
        import pandas as pd

        shown = pd.DataFrame(list(rows)).style.format(numbers.number, subset=decimals, na_rep="–")
    st.dataframe(shown, hide_index=True, width="stretch")
