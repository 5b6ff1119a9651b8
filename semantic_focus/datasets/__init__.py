"""Folders: pictures, captions, mask files and their cache, and what there is to say about them.

Knows regions, segmenters and files; nothing of training. Here a mask is decided to be stale (`cache`), a
whole folder is worked through (`bulk`) and shown (`status`, `report`, `thumbnails`), and masks and latents of
other trainers are read (`interchange`, `cached_latents`).
"""
