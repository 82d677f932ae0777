"""What is served, the exported weights or else the merged ones, is small enough."""

from __future__ import annotations

from components.gate.verdict import Case, Reason, Verdict

_NAME = "size"


def check(case: Case) -> list[Reason]:
    """One reason, if the policy has a limit (in MiB)."""
    limit, sizes = case.config.max_mb, case.evidence.sizes
    if limit is None:
        return []
    served = next((name for name in ("export", "merged") if name in sizes), None)
    if served is None:
        return [Reason(_NAME, "unknown", "the size of the weights was not recorded", code="no_size")]
    size = sizes[served] / 2**20
    figures = {"served": served, "mib": round(size, 3), "limit": limit}
    verdict: Verdict = "pass" if size <= limit else "fail"
    return [Reason(_NAME, verdict, f"{served}: {size:,.1f} MiB, at most {limit:,.1f} allowed", figures, "size")]
