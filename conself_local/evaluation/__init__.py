"""pass@k and paired comparison: is the adapter better, worse, or is there no measurable change?"""
