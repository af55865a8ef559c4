"""Pure tensor mathematics on activations: directions and their spectrum. No model, no files, no clock."""
