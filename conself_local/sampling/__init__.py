"""Sample programs for a problem: prompts, the `Sampler` protocol and the engines that implement it.

Nothing is executed here: the sandbox runs the programs.
"""
