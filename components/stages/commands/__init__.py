"""Commands outside the chain of stages: forget, generate, score, exchange with PEFT, drops, demo."""
