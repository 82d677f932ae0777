"""Searches of bits and ranks for the layers of a model, one file a method."""
