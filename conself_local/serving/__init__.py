"""Use the trained model: answer questions, serve it to other programs, and run single programs."""

ADAPTER_NAME, BASE_NAME = "conself", "conself-base"
"""The names under which the server offers the model with and without its adapter."""
BEST_OF = 8
"""Programs that the server compares under the name `BEST_OF_NAME`."""
BEST_OF_NAME = f"conself-best-of-{BEST_OF}"
"""The name under which the server answers by the consensus of several programs of the model with its adapter."""
HOST = "127.0.0.1"
"""The only address on which the server listens."""
