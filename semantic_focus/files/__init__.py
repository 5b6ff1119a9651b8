"""Files of any kind: written, named and read. It knows nothing of what is in them.

`writing` alone writes. `tensors` has safetensors files, `names` paths that people give, `text` what can be
printed, `command_lines` commands in messages.
"""
