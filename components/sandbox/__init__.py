"""Runs programs that nobody has read: ``run`` is what callers use, ``jail`` and ``worker`` are its two child processes."""
