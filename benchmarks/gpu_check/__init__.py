"""The first hour on a GPU as one command: every step run, held against what is expected of it, in a file to send."""
