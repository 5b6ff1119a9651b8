"""What a region is: named soft masks of a picture, and everything that is done to them.

Knows the vocabulary (categories, keywords) and nothing of files, models or training. Masks go in and out as
`masks.SemanticMasks`; all of it is plain tensor work.
"""
