"""What is trained: adapters and the layers they go on, and the keys, headers and files of a LoRA.

Knows linear layers of any torch module, and files. Nothing of masks, losses or loops; which names ComfyUI has
for the layers of a model comes in from outside as a `keys.KeyMap`.
"""
