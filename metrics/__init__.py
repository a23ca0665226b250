"""What is measured: pure functions on arrays, the evaluator, and thin Avalanche plugins that call them."""
