"""Batch jobs of `bitnet` on Ray Data, whose results are a function of their rows alone."""
