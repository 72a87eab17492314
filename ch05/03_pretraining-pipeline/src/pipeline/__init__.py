"""A pretraining pipeline around the training loop of chapter 5."""
