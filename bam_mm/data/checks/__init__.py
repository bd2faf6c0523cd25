"""Checks of data sets: files against known sizes, labels and annotations against the model."""
