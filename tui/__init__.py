"""Terminal screens: show what the store holds and ask the core to work. No SQL, no subprocess, no model call here."""
