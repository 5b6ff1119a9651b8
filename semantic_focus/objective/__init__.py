"""What a training wants: sums over regions, the loss, noise levels and their weights, the whole objective.

Knows the vocabulary and tensors; nothing of models, files or how a loop runs. `loss.semantic_cosine_loss` is
where the cosine is computed, `total.Objective` the value that the sliders become.
"""
