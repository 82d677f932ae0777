"""A line from the terminal, which Ctrl-C ends whenever it is pressed."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

_AGAIN_SECONDS = 0.05


def read_line(prompt: str) -> str:
    """``input``; call it in the main thread.

    Between showing its prompt and waiting for keys, readline (and C's ``fgets``) notices no signal, and would act on it at the next
    key only. So another thread learns of it through Python's wake-up descriptor, and sends it again until it is noticed.

    Raises:
        KeyboardInterrupt: once, at Ctrl-C.
        EOFError: at the end of the input.
    """
    noticed, main = threading.Event(), threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def interrupt(*_: Any) -> None:
        if not noticed.is_set():  # what was sent again may come late
            noticed.set()
            raise KeyboardInterrupt

    def repeat() -> None:
        while number := os.read(reader, 1)[0]:
            while number == signal.SIGINT and not noticed.wait(_AGAIN_SECONDS):
                signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    wakes = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        try:
            return input(prompt)
        finally:
            noticed.set()
    finally:
        os.set_blocking(writer, True)
        os.write(writer, b"\0")
        thread.join()
        signal.set_wakeup_fd(wakes)
        signal.signal(signal.SIGINT, before)
        os.close(reader)
        os.close(writer)
