"""Usage in reports and in money: periods, prices, budgets. Knows the store's sums; does not know who used what."""
