"""Use the trained model: answer questions, serve it to other programs, and run single programs."""

ADAPTER_NAME, BASE_NAME = "conself", "conself-base"
"""The names under which the server offers the model with and without its adapter."""
HOST = "127.0.0.1"
"""The only address on which the server listens."""
