"""Serve a model with llama.cpp's own server (PyPI: xllamacpp) and 16 slots, for `sampling_speed.py` and endpoint tests.

It prints its address, and ends when its standard input is closed.
"""

import sys

import xllamacpp  # type: ignore[import-untyped, import-not-found, unused-ignore]

SLOTS = 16
TOKENS_PER_SLOT = 512


def main() -> None:
    """Serve the model file of the first argument with the threads of the second and the adapter of the third, if any."""
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * TOKENS_PER_SLOT
    params.n_ubatch = params.n_batch = 512
    params.warmup = False
    if len(sys.argv) > 3:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = sys.argv[3], 1.0
        params.lora_adapters = [adapter]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
