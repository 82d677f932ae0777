"""Has a model been trained on what it is evaluated on? Three answers: clean, contaminated, not checked.

Methods that look into the training data (``exact``, ``ngram``, ``minhash``, ``rephrased``) are files of this folder; methods that
ask the model itself (``min_k``, ``order``) stand in ``membership``. The benchmark, the small side, is indexed; the corpus streams.
"""
