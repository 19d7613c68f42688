"""Each GGUF file that is no usable chat model is refused in words that say what it is; odd bytes refuse nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.gguf_weights import read_weights
from conself_local.model_files.memory import kv_tokens, sampling_bytes
from conself_local.model_files.model_file import load_model_file, verify_adapter_file
from tests.fakes.tiny_model import write_tiny_model
from tests.fakes.tiny_recurrent import write_tiny_hybrid, write_tiny_mamba

Edit = Callable[[gguf.GGUFWriter], None]
MATRIX = ("token_embd.weight",)


def _nothing(writer: gguf.GGUFWriter) -> None:
    pass


def _write(
    path: Path,
    architecture: str = "llama",
    edit: Edit = _nothing,
    *,
    chat: bool = True,
    tensors: Sequence[str] = MATRIX,
    tokens: Sequence[bytes] = (b"<s>", b"</s>", b"a", b"b"),
    order: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE,
) -> Path:
    """Write a file of some hundred bytes; `chat`: with vocabulary, end token and chat template."""
    writer = gguf.GGUFWriter(str(path), architecture, endianess=order)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_head_count(4)
    if chat:
        writer.add_token_list(list(tokens))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_chat_template("{{ messages[0].content }}")
    edit(writer)
    for name in tensors:
        writer.add_tensor(name, np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if tensors:
        writer.write_tensors_to_file()
    writer.close()
    return path


def _number(key: str, value: int) -> Edit:
    return lambda writer: writer.add_uint32(key, value)


def _type(name: str) -> Edit:
    return lambda writer: writer.add_type(name)


def _not_causal(writer: gguf.GGUFWriter) -> None:
    writer.add_causal_attention(False)


def _lora(writer: gguf.GGUFWriter) -> None:
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")


def test_the_plain_file_of_these_tests_is_accepted(tmp_path: Path) -> None:
    assert load_model_file(_write(tmp_path / "m.gguf")).special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("architecture", "edit", "says"),
    [
        ("bert", _nothing, "is an embedding model"),
        ("nomic-bert-moe", _nothing, "is an embedding model"),
        ("llama-embed", _nothing, "is an embedding model"),
        ("t5encoder", _nothing, "is an embedding model"),
        ("llama", _not_causal, "is an embedding model"),
        ("qwen3", _number("qwen3.pooling_type", 3), "is an embedding model"),
        ("qwen3", _number("qwen3.pooling_type", 4), "is a reranker"),
        ("llada-moe", _nothing, "is a diffusion model"),
        ("new", lambda writer: writer.add_bool("diffusion.shift_logits", True), "is a diffusion model"),
        ("llama", _type("imatrix"), "is an importance matrix"),
        ("llama", _type("dataset"), "is of the type 'dataset', not a model"),
        ("controlvector", _nothing, "is a control vector"),
        ("llama", _type("mmproj"), "is a projector"),
        ("clip", _nothing, "is a projector"),
        ("llama", _lora, "is a LoRA adapter, not a model"),
    ],
)
def test_a_file_of_another_kind_is_told_what_it_is(architecture: str, edit: Edit, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConselfError, match=says) as error:
        load_model_file(_write(tmp_path / "m.gguf", architecture, edit))
    assert "damaged" not in str(error.value) and error.value.hint


@pytest.mark.parametrize(
    ("architecture", "chat", "tensors", "says"),
    [
        ("llama", True, (), "holds a vocabulary only"),
        ("llama", False, (), "contains no model"),
        ("flux", False, MATRIX, "no vocabulary .architecture flux., so it is not a language model"),
        ("t5", True, ("enc.blk.0.attn_q.weight", "dec.blk.0.attn_q.weight"), "is an encoder-decoder model"),
        ("llama", False, ("blk.0.ffn_up.weight.lora_a", "blk.0.ffn_up.weight.lora_b"), "is a LoRA adapter"),
    ],
)
def test_what_a_file_holds_decides_too(
    architecture: str, chat: bool, tensors: Sequence[str], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConselfError, match=says):
        load_model_file(_write(tmp_path / "m.gguf", architecture, chat=chat, tensors=tensors))


def test_a_file_for_the_other_byte_order_is_told_so_as_model_and_as_adapter(tmp_path: Path) -> None:
    """It used to be called cut short or of an unknown version."""
    model = write_tiny_model(tmp_path / "tiny.gguf")
    path = _write(tmp_path / "big.gguf", order=gguf.GGUFEndian.BIG)
    with pytest.raises(ConselfError, match="is for big-endian machines") as error:
        load_model_file(path)
    assert "gguf-convert-endian big.gguf little" in error.value.hint
    with pytest.raises(ConselfError, match="is for big-endian machines"):
        verify_adapter_file(path, model)


@pytest.mark.parametrize(
    ("name", "content", "says", "hint"),
    [
        ("m.gguf", b"GGUF" + struct.pack("<I", 1) + bytes(40), "is of GGUF version 1, and known are 2 and 3", ""),
        ("m.gguf", b"GGUF" + struct.pack("<I", 4) + bytes(40), "is of GGUF version 4", ""),
        ("m.gguf", b"GGUF\3\0", "is cut short", "download the file again"),
        ("m.gguf", b"", "is empty", "download the file again"),
        ("m.gguf", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS", ""),
        ("m.gguf", b"<!DOCTYPE html>", "a web page", ""),
        ("m.bin", b"tjgg" + bytes(40), "the form before GGUF", ""),
        ("m.gguf.part2of2", b"\0" * 50, "is not a GGUF file", "cat PIECE1 PIECE2"),
        ("m.gguf.part1of2", b"GGUF\3\0\0\0" + b"\xff" * 50, "cut short", "cat PIECE1 PIECE2"),
    ],
)
def test_a_file_that_is_no_gguf_of_today_is_told_what_it_is(
    name: str, content: bytes, says: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConselfError, match=says) as error:
        load_model_file(tmp_path / name)
    assert hint in error.value.hint and error.value.hint


def test_a_folder_and_a_name_that_is_too_long_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConselfError, match="is a folder, not a model file"):
        load_model_file(tmp_path)
    _write(tmp_path / "m.gguf")
    with pytest.raises(ConselfError) as error:
        load_model_file(tmp_path)
    assert "such as m.gguf" in error.value.hint
    with pytest.raises(ConselfError, match="cannot be read: File name too long"):
        load_model_file(tmp_path / ("a" * 5000))


def test_a_model_without_any_end_token_is_refused(tmp_path: Path) -> None:
    def no_end(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("tokenizer.ggml.eos_token_id")

    def no_such_token(writer: gguf.GGUFWriter) -> None:
        no_end(writer)
        writer.add_eot_token_id(99)

    for edit in (no_end, no_such_token):
        with pytest.raises(ConselfError, match=r"defines no end token .tokenizer\.ggml\.eos_token_id."):
            load_model_file(_write(tmp_path / "m.gguf", edit=edit))
    assert load_model_file(_write(tmp_path / "m.gguf")).end_token is None


# -- metadata that are not UTF-8 ----------------------------------------------------------------------------


def _raw(key: str) -> Edit:
    return lambda writer: writer.add_key_value(key, b"Ren\xe9", gguf.GGUFValueType.STRING)


@pytest.mark.parametrize("key", ["general.author", "general.name", "general.license", "some.key", "llama.some_key"])
def test_a_text_that_is_not_needed_may_hold_any_bytes(key: str, tmp_path: Path) -> None:
    """Any text under `general.` that was not UTF-8 used to refuse the whole file as damaged."""
    model = load_model_file(_write(tmp_path / "m.gguf", edit=_raw(key)))
    assert (model.name == "Ren\\xe9") == (key == "general.name")
    assert (model.licence == "Ren\\xe9") == (key == "general.license")


@pytest.mark.parametrize("key", ["general.type", "llama.block_count", "tokenizer.chat_template"])
def test_a_text_that_is_needed_is_named(key: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, value in (("block_count", 1), ("embedding_length", 32), ("context_length", 256)):
        if key != f"llama.{name}":
            writer.add_uint32(f"llama.{name}", value)
    writer.add_head_count(4)
    writer.add_token_list([b"<s>", b"</s>"])
    writer.add_eos_token_id(1)
    if key != "tokenizer.chat_template":
        writer.add_chat_template("{{ messages[0].content }}")
    _raw(key)(writer)
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConselfError, match=f"under the key {key} .* is not UTF-8"):
        load_model_file(path)


@pytest.mark.parametrize(("place", "refused"), [(0, False), (1, True), (2, False)])
def test_only_the_text_of_a_needed_token_must_be_utf8(place: int, refused: bool, tmp_path: Path) -> None:
    tokens = [b"<s>", b"</s>", b"a", b"b"]
    tokens[place] = b"\xff\xfe"
    path = _write(tmp_path / "m.gguf", tokens=tokens)
    if refused:
        with pytest.raises(ConselfError, match=r"under the key tokenizer\.ggml\.tokens, item 1 of .* is not UTF-8"):
            load_model_file(path)
    else:
        assert load_model_file(path).special_tokens["eos_token"] == "</s>"


def test_a_key_may_hold_any_bytes_and_a_name_of_a_tensor_may_not(tmp_path: Path) -> None:
    whole = _write(tmp_path / "m.gguf", edit=_number("some.key", 1)).read_bytes()
    (tmp_path / "key.gguf").write_bytes(whole.replace(b"some.key", b"s\xffme.key"))
    assert load_model_file(tmp_path / "key.gguf").vocabulary == 4
    (tmp_path / "tensor.gguf").write_bytes(whole.replace(b"token_embd", b"t\xffken_embd"))
    with pytest.raises(ConselfError, match="the name of a tensor is not UTF-8"):
        load_model_file(tmp_path / "tensor.gguf")


# -- models with recurrent layers ---------------------------------------------------------------------------


def test_a_recurrent_model_is_described_with_its_state(tmp_path: Path) -> None:
    """A Mamba model used to be called damaged, because it states no attention heads."""
    mamba = write_tiny_mamba(tmp_path / "mamba.gguf")
    assert mamba.kv_bytes_per_token == 0 and kv_tokens(mamba, 4, 100) == 400
    per_layer = 3 * 64 + 16 * 64  # the convolution's last inputs, and the state
    assert mamba.state_bytes == 2 * 4 * per_layer
    assert sampling_bytes(mamba, 0, 100, 5) - sampling_bytes(mamba, 0, 100, 1) == 4 * mamba.state_bytes
    hybrid = write_tiny_hybrid(tmp_path / "hybrid.gguf")
    assert hybrid.kv_bytes_per_token == 2 * 2 * 2 * 8, "one layer with two heads of eight values"
    assert hybrid.state_bytes == 2 * 4 * 32 * 2


@pytest.mark.parametrize("architecture", ["rwkv7", "jamba", "falcon-h1", "granitehybrid", "qwen35moe"])
def test_recurrent_architectures_may_state_no_heads_and_others_may_not(architecture: str, tmp_path: Path) -> None:
    def no_heads(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop(f"{writer.arch}.attention.head_count")

    assert load_model_file(_write(tmp_path / "m.gguf", architecture, no_heads)).kv_bytes_per_token == 0
    with pytest.raises(ConselfError, match=r"no usable value for llama\.attention\.head_count"):
        load_model_file(_write(tmp_path / "n.gguf", "llama", no_heads))


def test_heads_that_do_not_fit_the_rows_are_refused_before_training(tmp_path: Path) -> None:
    """The trainer used to end in numpy's words about a reshape."""

    def many_heads(writer: gguf.GGUFWriter) -> None:
        writer.kv_data[0].pop("llama.attention.head_count")
        writer.add_head_count(7)

    model = write_tiny_model(tmp_path / "m.gguf", edit=many_heads)
    with pytest.raises(ConselfError, match=r"the 32 rows of blk\.0\.attn_q\.weight in m\.gguf do not fit its heads"):
        read_weights(model)
