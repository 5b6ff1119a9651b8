"""A world where everything is known: drawn people, a model trained on them, and what LoRAs do to both."""
