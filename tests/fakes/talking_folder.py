"""Write a folder of MLX weights that has learnt two programs: a tiny model with a small vocabulary of its own.

It answers every prompt of `PROBLEMS` with one program or the other, so that a whole round has samples that run, clusters
that disagree and pairs to train on, in seconds on a processor.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conself_local.model_files.chat_template import render_chat
from conself_local.problems.formats.own import problem_of
from conself_local.problems.problem import Problem
from conself_local.sampling.prompts import program_messages
from conself_local.sampling.sampler import ChatMessage

PROGRAMS = ("def f(n):\n    return n + 1", "def f(n):\n    return n * 2")
_STATEMENTS = {
    "train": ("Return a larger number.", "Return the number that comes after n, or another one."),
    "validation": ("Add one to n.", "Count from n to the next number."),
    "held-out": ("Return the successor of the number n.",),
}
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_END, _PAD = "<|im_end|>", "<|pad|>"
QUESTION = "Write a Python function."
_CONTEXT = 2048
_STEPS = 240
_ENOUGH = 0.05
"""Loss in nats per token at which training ends; the choice of a program costs log(2) nats, 0.043 per token."""
_OWN_BITS: dict[str, Any] = {"model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 8}}
_CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": _CONTEXT,
    "tie_word_embeddings": True,
}


def _problems() -> list[Problem]:
    records = [
        {
            "id": f"tiny/{split}-{i}",
            "split": split,
            "kind": "function",
            "entry_point": "f",
            "statement": statement,
            "inputs": [f"({n},)" for n in (2, 3, 5, 8, 13)],
        }
        | ({} if split == "train" else {"reference": f"{PROGRAMS[0]}\n"})
        for split, statements in _STATEMENTS.items()
        for i, statement in enumerate(statements)
    ]
    return [problem_of(record) for record in records]


PROBLEMS = _problems()


def write_talking_folder(path: Path, *, learns: bool = True, bits: int = 0) -> Path:
    """Write the folder, and return `path`; the same versions of the packages give the same weights.

    learns: False leaves the weights random, which takes no time. bits: quantise them, in groups of 32, and one map to
    8 bits, as mixed and DWQ folders have it; 0 does not.
    """
    import mlx.core as mx
    import mlx.nn
    from mlx.utils import tree_flatten
    from mlx_lm.models.llama import Model, ModelArgs

    path.mkdir(parents=True, exist_ok=True)
    asked = [*map(program_messages, PROBLEMS), [ChatMessage("user", QUESTION)]]
    prompts = [render_chat(_TEMPLATE, messages, "", _END) for messages in asked]
    answers = [f"```python\n{program}\n```{_END}" for program in PROGRAMS]
    tokenizer = _write_tokenizer(path, [*prompts, *answers])
    config = _CONFIG | {"vocab_size": tokenizer.get_vocab_size(), "eos_token_id": tokenizer.token_to_id(_END)}
    mx.random.seed(7)
    model: Any = Model(ModelArgs.from_dict(config))  # type: ignore[no-untyped-call]
    if learns:
        _learn(model, [(tokenizer.encode(p).ids, tokenizer.encode(a).ids) for p in prompts for a in answers])
    if bits:
        quantise: Any = mlx.nn.quantize  # type: ignore[attr-defined]
        quantise(model, 32, bits, class_predicate=lambda name, part: _OWN_BITS.get(name, hasattr(part, "to_quantized")))
        config["quantization"] = {"group_size": 32, "bits": bits} | _OWN_BITS
    mx.save_safetensors(str(path / "model.safetensors"), dict(tree_flatten(model.parameters())), {"format": "mlx"})
    (path / "config.json").write_text(json.dumps(config))
    return path


def _write_tokenizer(path: Path, texts: list[str]) -> Any:
    """Write tokenizer and template as mlx-lm does now, the template in a file of its own; return the tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = [_PAD, "<|im_start|>", _END]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": _END, "pad_token": _PAD}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "chat_template.jinja").write_text(_TEMPLATE)
    return tokenizer


def _learn(model: Any, examples: list[tuple[list[int], list[int]]]) -> None:
    """Train the model on (prompt, answer) token ids until it knows the answers."""
    import mlx.core as mx
    import mlx.nn
    import mlx.optimizers
    import numpy as np

    nn: Any = mlx.nn
    optimizers: Any = mlx.optimizers
    size = max(len(prompt) + len(answer) for prompt, answer in examples)
    ids = np.zeros((len(examples), size), dtype=np.int32)
    wanted = np.zeros((len(examples), size - 1), dtype=np.float32)
    for i, (prompt, answer) in enumerate(examples):
        ids[i, : len(prompt) + len(answer)] = [*prompt, *answer]
        wanted[i, len(prompt) - 1 : len(prompt) + len(answer) - 1] = 1
    tokens, mask = mx.array(ids), mx.array(wanted)

    def loss_of(model: Any) -> mx.array:
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        return (losses * mask).sum() / mask.sum()

    step = nn.value_and_grad(model, loss_of)
    optimizer = optimizers.Adam(learning_rate=4e-3)
    loss = mx.array(0.0)
    for _ in range(_STEPS):
        loss, gradients = step(model)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state, loss)
        if float(loss) < _ENOUGH:
            return
    raise AssertionError(f"the tiny model has not learnt its programs: {float(loss):.3f} nats per token")
