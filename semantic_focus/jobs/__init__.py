"""Work as files: what a job asks for, where its inputs and outputs are, whether it is done, and who does it.

Nothing here imports torch: whether there is anything to do is known before.
"""
