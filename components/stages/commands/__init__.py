"""What single commands do beside the chain: forget, generate, score, exchange with peft, drops, demo."""
