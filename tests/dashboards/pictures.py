"""Takes the README's pictures of the dashboard: ``python tests/dashboards/pictures.py http://127.0.0.1:8501 RUN RUN``.

The services must run (``lapidar up``) on a home with two runs and a registered version. Each picture is 1280 × 800 pixels, in few
colours, and smaller than 80 kB; one that isn't fails.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FOLDER = Path(__file__).parents[2] / ".github" / "pictures"
MOST_BYTES = 80_000
_COLOURS = (128, 64, 48, 32)
_BUSY = "[data-testid=stStatusWidget], [data-testid=stSpinner], [data-stale=true], [data-testid=stSkeleton]"


def pages(first: str, second: str) -> dict[str, tuple[str, bool]]:
    """(address, whether it is dark) by picture's name."""
    prompt = quote("Ana has 7 apples and buys 5 more. How many apples does Ana have now?")
    return {
        "home": ("/", False),
        "compare": (f"/compare?runs={quote(f'{first},{second}')}", False),
        "run": (f"/run?id={quote(second)}", True),
        "registry": ("/registry", False),
        "lineage": ("/registry?section=lineage", True),
        "inside": (f"/inside?view=neighbours&prompt={prompt}", False),
    }


def take(page: Page, address: str) -> bytes:
    """The picture of a page at rest."""
    page.goto(address)
    page.wait_for_selector("h1", timeout=60_000)
    for _ in range(3):  # a page that asks another service begins and ends more than once
        page.wait_for_timeout(1000)
        page.wait_for_function(f"!document.querySelector('{_BUSY}')", timeout=90_000)
    return page.screenshot()


def small(picture: bytes) -> bytes:
    """A PNG with as many colours as fit into ``MOST_BYTES``.

    Raises:
        ValueError: if the fewest are too many.
    """
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in _COLOURS:
        target = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
        if target.tell() < MOST_BYTES:
            return target.getvalue()
    raise ValueError(f"the picture takes {target.tell():,} bytes with {_COLOURS[-1]} colours, more than {MOST_BYTES:,}")


def main() -> None:
    """Writes every picture and says how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="of the dashboard")
    parser.add_argument("first", help="run that the other is compared with")
    parser.add_argument("second")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for name, (path, dark) in pages(asked.first, asked.second).items():
            size = {"width": 1280, "height": 800}
            context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light", locale="en-US")
            content = small(take(context.new_page(), asked.address.rstrip("/") + path))
            (asked.out / f"{name}.png").write_bytes(content)
            print(f"{name}.png {len(content):,} bytes")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
