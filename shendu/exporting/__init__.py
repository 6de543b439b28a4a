"""Models as others run them: a graph of raw inputs, formats that hold it, and the proof that it says what the model says."""
