"""Methods that ask a model whether it has seen a benchmark: a ``Config`` and ``test(config, ...)`` each."""
