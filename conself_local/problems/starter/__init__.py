"""The starter pack: `train.jsonl`, `validation.jsonl` and `held-out.jsonl`, written for this project (Apache-2.0)."""
