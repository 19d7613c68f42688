"""Read what this computer has: cores, memory, power and graphics cards. The package knows nothing of models."""
