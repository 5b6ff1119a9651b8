"""The loop and what belongs to it: data, optimizers, state, run folder, curves, diagnostics, evaluation.

Knows objective, lora and datasets. The model is anything that keeps `data.VelocityModel`; nothing here knows
ComfyUI.
"""
