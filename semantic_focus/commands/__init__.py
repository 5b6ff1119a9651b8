"""The shell: `semantic-focus masks | export | train | fetch`. Words in, exit codes out; no algorithms."""
