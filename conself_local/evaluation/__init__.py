"""Estimate pass@k and compare in pairs whether the adapter is better or worse, or shows no measurable change."""
