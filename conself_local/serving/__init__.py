"""The trained model in use: questions, a server, and single programs."""
