"""What a training keeps on the device of computation, and what waits in the machine's memory.

Frozen layers that keep no weight for the backward pass (`weights`, `frozen`), blocks that come from RAM when
they are needed (`swap`), inputs of recomputed blocks that wait there (`inputs`), and who decides it
(`placement`).
"""
