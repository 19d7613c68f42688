"""Use the trained model: answer questions, serve it to other programs, and run single programs."""
