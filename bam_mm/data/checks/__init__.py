"""Checks of data sets: folders against known sizes, labels and annotations against the model."""
