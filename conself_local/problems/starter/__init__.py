"""The starter pack: `train.jsonl`, `validation.jsonl` and `held-out.jsonl`, our own writing (Apache-2.0)."""
