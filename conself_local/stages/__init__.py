"""The stages of a round: each reads what the stage before it stored, and stores its own results item by item."""
