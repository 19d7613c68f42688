"""This computer: cores, memory, power, graphics cards. This package knows nothing of models."""
