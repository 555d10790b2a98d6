"""The commands, one a file: parse, call the API, print."""
