"""The stage that looks for what a model is evaluated on in what it was trained on."""
