"""The tests: pure parts, parts against real files and processes, and the story on a running site."""
