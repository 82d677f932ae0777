"""Methods that look for a benchmark's items in training data: a ``Config`` and ``detector(config, items)`` each."""
