"""Train with torch and peft; no other package imports them."""
