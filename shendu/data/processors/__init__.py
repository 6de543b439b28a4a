"""Raw <-> tensors, saved with the weights: one processor for each way of learning."""
