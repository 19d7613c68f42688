"""Train a LoRA adapter by Con-DPO in a separate process.

Adapter files are read and written in `conself_local.adapters`.
"""
