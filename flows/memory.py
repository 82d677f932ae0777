"""Peak resident memory of a run: this process and everything below it, sampled."""

from __future__ import annotations

import threading

import psutil


class PeakMemory:
    """Samples the sum of resident memory of the process tree. Pages shared by a fork count in each process: an upper bound."""

    def __init__(self, interval: float = 1.0) -> None:
        self.peak_mb = 0.0
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="lapidar-memory", daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Ends sampling; the peak in MiB."""
        self._stop.set()
        self._thread.join()
        return round(self.peak_mb, 1)

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.peak_mb = max(self.peak_mb, _tree_rss(process) / 2**20)
            if self._stop.wait(self._interval):
                return


def _tree_rss(root: psutil.Process) -> int:
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended between listing and reading
            continue
    return total
