"""From a problem to sampled programs: prompts, the Sampler protocol, and the engines behind it."""
