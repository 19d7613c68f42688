"""llama.cpp's own server (PyPI: xllamacpp) with 16 slots, for `sampling_speed.py`: prints its address, ends with its standard input."""

import sys

import xllamacpp  # type: ignore[import-untyped, import-not-found, unused-ignore]

SLOTS = 16
TOKENS_A_SLOT = 512


def main() -> None:
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[2])
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * TOKENS_A_SLOT
    params.n_ubatch = params.n_batch = 512
    params.warmup = False
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
