"""Pieces of pages that more than one view has, or that would hide a view's story."""
