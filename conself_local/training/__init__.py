"""Con-DPO training of a LoRA adapter in a process of its own, and adapter files."""
