"""Training with torch and peft: the only package that imports them."""
