"""Where an answer corrects itself, in English and Portuguese: "wait, no", "or rather", "aliás"."""

from __future__ import annotations

import re
from collections import deque

TURNS = 8
"""So many of the last ones are looked at: a model may repeat itself without end."""
# what was said before doesn't hold any more
_BACK = (
    r"(?:oh\W+|hmm+\W+)?(?:wait\W+(?:wait\W+)?no\b|no\W+wait\b|scratch\s+that|correction\b|or\s+rather|on\s+second\s+thoughts?"
    r"|(?:wait|hmm+|no|actually|oh)\W+(?:that|this)(?:(?:['’]?s|\s+is|\s+was)\s+(?:wrong|incorrect|not\s+(?:right|correct))"
    r"|\s+(?:can['’]?t\s+be|cannot\s+be|isn['’]?t)\s+(?:right|correct))"
    r"|my\s+mistake|i\s+(?:made\s+a\s+mistake|was\s+wrong|misread\b|misspoke)|oops"
    r"|esper[ae]\W+não\b|não\W+esper[ae]\b|corrijo|correção|corrigindo|ou\s+melhor|me\s+enganei|enganei-me|errei"
    r"|(?:esper[ae]|não|hum+)\W+(?:isso\s+)?(?:está|tá)\s+errad[oa])"
)
_TURN = re.compile(
    rf"(?<!\w)(?:(?P<back>{_BACK})|(?:wait|actually|sorry|i\s+mean|i\s+meant|rather|instead|no(?=\s*[,:.—–-])|on\s+reflection|let\s+me\s+reconsider"
    r"|aliás|quer\s+dizer|digo|na\s+verdade|desculp[ea]|perdão|pensando\s+(?:bem|melhor)|não(?=\s*[,:.—–-])))(?!\w)",
    re.IGNORECASE,
)


def turns(text: str, start: int) -> list[re.Match[str]]:
    """Where an answer turns behind ``start``, the last first; ``back`` takes back what was said before, others may go on."""
    return list(reversed(deque(_TURN.finditer(text, start), TURNS)))
