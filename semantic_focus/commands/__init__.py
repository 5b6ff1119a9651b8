"""The shell: `semantic-focus masks | export | train`. Words in, exit codes out; no algorithms."""
