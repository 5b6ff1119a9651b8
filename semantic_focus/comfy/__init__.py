"""ComfyUI's internals: models, noise, LoRA names, previews, headless start.

The only wing that imports `comfy`, and only in files that say so; it gives the wings below what they ask for:
a velocity model, a key map, a segmenter.
"""
