"""The face: shows what the store says and asks the core to work. No SQL, no subprocess, no model call here."""
